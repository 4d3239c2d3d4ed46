"""Results and memories to bytes and back."""

from __future__ import annotations

import json
import struct
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from constellation.dictionary_column import decode_texts, encode_texts
from constellation.encoding import DIMENSION, ID_BYTES, INT8_ROW, pack_int8, unit_scales
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1 import patterns_pb2
from federation.merge.codebook import Codebook
from federation.merge.published_clusters import PublishedCluster
from federation.merge.result import ModelState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.merge.result import FederatedTrend, RoundResult


def from_result(result: RoundResult, stamp: tuple[int, int, int], coverage: pb.Coverage) -> bytes:
    """Return the serialised Global; `moment` is generation, round and when it closed."""
    generation, round_id, closed_at = stamp
    message = pb.Global(
        generation=generation,
        round_id=round_id,
        closed_at=closed_at,
        coverage=coverage,
        codebook=pb.Codebook(
            version=result.codebook.version,
            cluster_ids=result.codebook.cluster_ids.tolist(),
            anchors=result.codebook.anchors.astype("<f4", copy=False).tobytes(),
            retired_ids=sorted(result.successors),
            successor_ids=[result.successors[each] for each in sorted(result.successors)],
        ),
        clusters=_from_clusters(result.clusters, generation),
        trends=from_trends(result.trends),
    )
    return message.SerializeToString(deterministic=True)


def from_trends(trends: Sequence[FederatedTrend]) -> list[patterns_pb2.Trend]:
    """Return trends as operators and shards see them."""
    scopes = (patterns_pb2.TREND_SCOPE_REGIONAL, patterns_pb2.TREND_SCOPE_GLOBAL)
    return [
        patterns_pb2.Trend(
            content_id=trend.content_id or None,  # type: ignore[arg-type]  # None leaves it unset
            genre=trend.genre or None,  # type: ignore[arg-type]  # None leaves it unset
            score=trend.score,
            region="global" if trend.is_global else trend.region,
            scope=scopes[trend.is_global],
            direction=int(trend.direction),  # type: ignore[arg-type]  # enums are ints
            popularity=trend.popularity,
        )
        for trend in trends
    ]


def from_model_state(model_state: ModelState) -> bytes:
    """Return what the last Global does not hold of a memory."""
    known = {
        "next_id": model_state.codebook.next_id if model_state.codebook else 1,
        "reanchored_at": model_state.reanchored_at,
    }
    return json.dumps(known).encode()


def to_model_state(stored: bytes | None, payload: bytes | None) -> ModelState:
    """Return what the next round builds on, from the journal's memory and its last Global."""
    if stored is None or payload is None:
        return ModelState()
    known, message = json.loads(stored), pb.Global.FromString(payload)
    sent = message.codebook
    codebook = Codebook(
        sent.version,
        np.array(sent.cluster_ids, np.uint32),
        np.frombuffer(sent.anchors, "<f4").reshape(-1, DIMENSION).astype(np.float32),
        known["next_id"],
    )
    return ModelState(
        codebook if len(codebook.cluster_ids) else None,
        known["reanchored_at"],
        _to_clusters(message.clusters),
    )


def _from_clusters(clusters: Sequence[PublishedCluster], generation: int) -> pb.GlobalClusters:
    codes = np.frombuffer(b"".join(each.codes for each in clusters), np.int8)
    codes = codes.reshape(-1, DIMENSION)
    genres = encode_texts(each.genres for each in clusters)
    contents = encode_texts(each.content_ids for each in clusters)
    stamps = [each.changed_at for each in clusters]
    return pb.GlobalClusters(
        cluster_ids=[each.cluster_id for each in clusters],
        revisions=[each.revision for each in clusters],
        devices=[each.devices for each in clusters],
        shards=[each.shards for each in clusters],
        patterns=patterns_pb2.PatternColumns(
            ids=b"".join(_make_revision_id(generation, each) for each in clusters),
            encoding=patterns_pb2.ENCODING_INT8,
            embeddings=pack_int8(codes, unit_scales(codes)),
            success_rates=[each.success_rate for each in clusters],
            sample_counts=[min(each.devices, 2**32 - 1) for each in clusters],
            times_of_day=bytes(each.time_of_day for each in clusters),
            day_types=bytes(each.day_type for each in clusters),
            content_types=bytes(each.content_type for each in clusters),
            created_at=stamps,
            updated_at=stamps,
            genres=genres.texts,
            genre_counts=genres.counts,
            genre_indexes=genres.indexes,
            content_ids=contents.texts,
            content_counts=contents.counts,
            content_indexes=contents.indexes,
        ),
    )


def _to_clusters(message: pb.GlobalClusters) -> list[PublishedCluster]:
    columns = message.patterns
    codes = np.frombuffer(columns.embeddings, INT8_ROW)["codes"]
    genres = decode_texts(columns.genres, columns.genre_counts, columns.genre_indexes)
    contents = decode_texts(columns.content_ids, columns.content_counts, columns.content_indexes)
    return [
        PublishedCluster(
            cluster_id,
            message.revisions[row],
            message.devices[row],
            message.shards[row],
            columns.success_rates[row],
            codes[row].tobytes(),
            columns.times_of_day[row],
            columns.day_types[row],
            columns.content_types[row],
            genres[row],
            contents[row],
            columns.updated_at[row],
        )
        for row, cluster_id in enumerate(message.cluster_ids)
    ]


def _make_revision_id(generation: int, cluster: PublishedCluster) -> bytes:
    named = struct.pack("<QIQ", generation, cluster.cluster_id, cluster.revision)
    return blake2b(named, digest_size=ID_BYTES).digest()
