"""Results, memories and aggregates to bytes and back."""

from __future__ import annotations

import io
import json
import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np
from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

from constellation.core.aggregate import AggregateUpdate, SubjectCounts, no_clusters
from constellation.encoding import DIMENSION, ID_BYTES, INT8_ROW, pack_int8, unit_scales
from constellation.transport.aggregate_columns import from_update
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1 import patterns_pb2
from federation.assembly import Assembly
from federation.clusters import Codebook
from federation.described import Description
from federation.merge import ShardAggregate, join
from federation.merge import since as changed_since
from federation.result import Memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from constellation.core.aggregate import ClusterRows
    from federation.hours import Cells
    from federation.names import Names
    from federation.result import FederatedTrend, Result

_HEARD: Final = struct.Struct("<dI")
_FOREVER: Final = 2**32 - 3
"""No hour is later: what was checked once is not checked again."""


def from_result(result: Result, moment: tuple[int, int, int], coverage: pb.Coverage) -> bytes:
    """Return the serialised Global; `moment` is generation, round and when it closed."""
    generation, round_id, closed_at = moment
    message = pb.Global(
        generation=generation,
        round_id=round_id,
        closed_at=closed_at,
        coverage=coverage,
        codebook=pb.Codebook(
            version=result.codebook.version,
            cluster_ids=result.codebook.cluster_ids.tolist(),
            anchors=result.codebook.anchors.astype("<f4", copy=False).tobytes(),
            retired_ids=sorted(result.retired),
            successor_ids=[result.retired[each] for each in sorted(result.retired)],
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


def from_memory(memory: Memory) -> bytes:
    """Return what the last Global does not hold of a memory."""
    known = {
        "next_id": memory.codebook.next_id if memory.codebook else 1,
        "reanchored_at": memory.reanchored_at,
    }
    return json.dumps(known).encode()


def to_memory(stored: bytes | None, payload: bytes | None) -> Memory:
    """Return what the next round builds on, from the journal's memory and its last Global."""
    if stored is None or payload is None:
        return Memory()
    known, message = json.loads(stored), pb.Global.FromString(payload)
    sent = message.codebook
    codebook = Codebook(
        sent.version,
        np.array(sent.cluster_ids, np.uint32),
        np.frombuffer(sent.anchors, "<f4").reshape(-1, DIMENSION).astype(np.float32),
        known["next_id"],
    )
    return Memory(
        codebook if len(codebook.cluster_ids) else None,
        known["reanchored_at"],
        _to_clusters(message.clusters),
    )


def chunks_of(
    held: ShardAggregate,
    base: int,
    names: tuple[Names, Names],
    age_seconds: int = 0,
    candidates: ClusterRows | None = None,
) -> Iterator[pb.PullAggregateResponse]:
    """Yield what a federation above lacks of one shard, that holds version `base` of its epoch.

    `names` are those of contents and of genres.
    """
    clusters, cells, base = changed_since(held, base)
    update = AggregateUpdate(
        held.of,
        held.facts,
        base,
        clusters,
        _from_cells(cells, *names),
        no_clusters() if candidates is None else candidates,
    )
    return from_update(update, age_seconds)


def from_aggregate(held: ShardAggregate, contents: Names, genres: Names) -> bytes:
    """Return a shard's aggregate for the journal."""
    into = io.BytesIO()
    address = held.address.encode()
    into.write(_HEARD.pack(held.heard_at, len(address)) + address)
    for chunk in chunks_of(held, 0, (contents, genres)):
        serialize_length_prefixed(chunk, into)
    return into.getvalue()


def to_aggregate(stored: bytes, contents: Names, genres: Names) -> ShardAggregate:
    """Return what `from_aggregate` stored."""
    source = io.BytesIO(stored)
    heard_at, length = _HEARD.unpack(source.read(_HEARD.size))
    address = source.read(length).decode()
    assembly = Assembly(_FOREVER)
    while (chunk := parse_length_prefixed(pb.PullAggregateResponse, source)) is not None:
        assembly.add(chunk)
    ((update, _),) = assembly.updates()
    return join(None, update, contents, genres, (heard_at, address))


def _from_clusters(clusters: Sequence[Description], generation: int) -> pb.GlobalClusters:
    codes = np.frombuffer(b"".join(each.codes for each in clusters), np.int8)
    codes = codes.reshape(-1, DIMENSION)
    genres = sorted({genre for each in clusters for genre in each.genres})
    contents = sorted({content for each in clusters for content in each.content_ids})
    genre_place = {text: place for place, text in enumerate(genres)}
    content_place = {text: place for place, text in enumerate(contents)}
    stamps = [each.changed_at for each in clusters]
    return pb.GlobalClusters(
        cluster_ids=[each.cluster_id for each in clusters],
        revisions=[each.revision for each in clusters],
        devices=[each.devices for each in clusters],
        shards=[each.shards for each in clusters],
        patterns=patterns_pb2.PatternColumns(
            ids=b"".join(_revision_id(generation, each) for each in clusters),
            encoding=patterns_pb2.ENCODING_INT8,
            embeddings=pack_int8(codes, unit_scales(codes)),
            success_rates=[each.success_rate for each in clusters],
            sample_counts=[min(each.devices, 2**32 - 1) for each in clusters],
            times_of_day=bytes(each.time_of_day for each in clusters),
            day_types=bytes(each.day_type for each in clusters),
            content_types=bytes(each.content_type for each in clusters),
            created_at=stamps,
            updated_at=stamps,
            genres=genres,
            genre_counts=bytes(len(each.genres) for each in clusters),
            genre_indexes=[genre_place[text] for each in clusters for text in each.genres],
            content_ids=contents,
            content_counts=bytes(len(each.content_ids) for each in clusters),
            content_indexes=[content_place[text] for each in clusters for text in each.content_ids],
        ),
    )


def _to_clusters(sent: pb.GlobalClusters) -> list[Description]:
    columns = sent.patterns
    codes = np.frombuffer(columns.embeddings, INT8_ROW)["codes"]
    genres, contents = iter(columns.genre_indexes), iter(columns.content_indexes)
    return [
        Description(
            cluster_id,
            sent.revisions[row],
            sent.devices[row],
            sent.shards[row],
            columns.success_rates[row],
            codes[row].tobytes(),
            columns.times_of_day[row],
            columns.day_types[row],
            columns.content_types[row],
            tuple(columns.genres[next(genres)] for _ in range(columns.genre_counts[row])),
            tuple(columns.content_ids[next(contents)] for _ in range(columns.content_counts[row])),
            columns.updated_at[row],
        )
        for row, cluster_id in enumerate(sent.cluster_ids)
    ]


def _revision_id(generation: int, cluster: Description) -> bytes:
    named = struct.pack("<QIQ", generation, cluster.cluster_id, cluster.revision)
    return blake2b(named, digest_size=ID_BYTES).digest()


def _from_cells(cells: Cells, contents: Names, genres: Names) -> SubjectCounts:
    distinct, which = np.unique(cells.subjects, return_inverse=True)
    is_content = distinct >= 0
    content_ids = contents.of(distinct[is_content])
    names = genres.of(-1 - distinct[~is_content])
    place = np.empty(len(distinct), np.int64)
    place[is_content] = np.arange(len(content_ids))
    place[~is_content] = np.arange(len(names)) + len(content_ids)
    subjects = place[which].astype(np.uint32) if len(which) else np.empty(0, np.uint32)
    return SubjectCounts(
        content_ids,
        names,
        subjects,
        cells.hours.astype(np.uint32),
        cells.devices.astype(np.uint32),
    )
