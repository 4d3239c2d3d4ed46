"""Converts reports, results and model states of rounds to messages or bytes, and back."""

from __future__ import annotations

import json
import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from constellation.auth.global_signatures import sign_popular
from constellation.dictionary_column import decode_texts, encode_texts
from constellation.encoding import DIMENSION, ID_BYTES, INT8_ROW, pack_int8, unit_scales
from constellation.federated.trends import Direction
from constellation.transport.codec.aggregates import from_aggregate_version, to_aggregate_version
from constellation.transport.codec.times import to_duration, to_timestamp
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1 import federation_pb2, patterns_pb2
from federation.merge.codebook import Codebook
from federation.merge.published_clusters import PublishedCluster, RoundStamp
from federation.merge.result import FederatedTrend, ModelState
from federation.privacy.state import NoisedState
from federation.related.result import RelatedState
from federation.related_messages import (
    from_popular,
    from_related,
    to_dictionary,
    to_popular,
    to_rows,
)
from federation.round_report import (
    Coverage,
    RoundReport,
    RoundState,
    ShardOutcome,
    ShardReport,
    UnavailableShard,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

    from constellation.auth.key_file import KeyFile
    from federation.merge.result import RoundResult
    from federation.related.dictionary import Dictionary


def from_report(report: RoundReport) -> federation_pb2.Round:
    """Return a report as the message that operators receive and the journal keeps."""
    message = federation_pb2.Round(
        round_id=report.round_id,
        generation=report.generation,
        state=int(report.state),  # type: ignore[arg-type]  # enums are ints
        started_at=to_timestamp(report.started_at),
        shards=[_from_shard_report(shard) for shard in report.shards],
        anchor_count=report.anchor_count,
        codebook_version=report.codebook_version,
        cluster_count=report.cluster_count,
        trends=_from_trends(report.trends),
        trend_count=report.trend_count,
        result_bytes=report.result_bytes,
        result_sha256=report.result_sha256,
        contributors=report.contributors,
        dictionary_size=report.dictionary_size,
        related_count=report.related_count,
        related_changed_count=report.related_changed_count,
        popular_count=report.popular_count,
    )
    if report.closed_at is not None:
        message.closed_at.CopyFrom(to_timestamp(report.closed_at))
    if report.coverage is not None:
        message.coverage.CopyFrom(_from_coverage(report.coverage))
    if report.pull_seconds is not None:
        message.pull_time.CopyFrom(to_duration(report.pull_seconds))
    if report.merge_seconds is not None:
        message.merge_time.CopyFrom(to_duration(report.merge_seconds))
    if report.publish_seconds is not None:
        message.publish_time.CopyFrom(to_duration(report.publish_seconds))
    if report.solve_seconds is not None:
        message.solve_time.CopyFrom(to_duration(report.solve_seconds))
    return message


def serialise_report(report: RoundReport) -> bytes:
    """Return a report as bytes for the journal."""
    return from_report(report).SerializeToString()


def parse_report(stored: bytes) -> RoundReport:
    """Return the report that `serialise_report` stored."""
    message = federation_pb2.Round.FromString(stored)
    return RoundReport(
        round_id=message.round_id,
        generation=message.generation,
        state=RoundState(message.state),
        started_at=_to_seconds(message.started_at),
        closed_at=_to_seconds(message.closed_at) if message.HasField("closed_at") else None,
        coverage=_to_coverage(message.coverage) if message.HasField("coverage") else None,
        shards=[_to_shard_report(shard) for shard in message.shards],
        anchor_count=message.anchor_count,
        codebook_version=message.codebook_version,
        cluster_count=message.cluster_count,
        trend_count=message.trend_count,
        trends=_to_trends(message.trends),
        result_bytes=message.result_bytes,
        result_sha256=message.result_sha256,
        pull_seconds=_to_seconds(message.pull_time) if message.HasField("pull_time") else None,
        merge_seconds=_to_seconds(message.merge_time) if message.HasField("merge_time") else None,
        publish_seconds=(
            _to_seconds(message.publish_time) if message.HasField("publish_time") else None
        ),
        contributors=message.contributors,
        dictionary_size=message.dictionary_size,
        related_count=message.related_count,
        related_changed_count=message.related_changed_count,
        popular_count=message.popular_count,
        solve_seconds=_to_seconds(message.solve_time) if message.HasField("solve_time") else None,
    )


def serialise_result(
    result: RoundResult,
    stamp: RoundStamp,
    coverage: Coverage,
    revoked_device_ids: Iterable[bytes] = (),
    signing_keys: KeyFile | None = None,
) -> bytes:
    """Return a result as a serialised Global: the same bytes for the same values.

    With keys, each list of popular content is signed, for devices that pin the keys.
    """
    related = result.model_state.related
    message = pb.Global(
        generation=stamp.generation,
        round_id=stamp.round_id,
        closed_at=stamp.closed_at,
        coverage=_from_coverage(coverage),
        codebook=pb.Codebook(
            version=result.codebook.version,
            cluster_ids=result.codebook.cluster_ids.tolist(),
            anchors=result.codebook.anchors.astype("<f4", copy=False).tobytes(),
            retired_ids=sorted(result.successors),
            successor_ids=[result.successors[each] for each in sorted(result.successors)],
        ),
        clusters=_from_clusters(result.clusters, stamp.generation),
        trends=_from_trends(result.trends),
        revoked_device_ids=b"".join(sorted(revoked_device_ids)),
        related=from_related(related.dictionary, related.rows),
        popular=from_popular(related.popular),
        noised=result.model_state.noised is not None,
    )
    if signing_keys is not None:
        for popular in message.popular:
            sign_popular(signing_keys, popular)
    return message.SerializeToString(deterministic=True)


def parse_identity(payload: bytes) -> tuple[RoundStamp, Dictionary]:
    """Return which round a serialised Global is of, when it closed, and its dictionary."""
    message = pb.Global.FromString(payload)
    stamp = RoundStamp(message.generation, message.round_id, message.closed_at)
    return stamp, to_dictionary(message.related)


def serialise_model_state(model_state: ModelState) -> bytes:
    """Return the part of a model state that the serialised Global of its round does not hold."""
    stored: dict[str, Any] = {
        "next_id": model_state.codebook.next_id if model_state.codebook else 1,
        "reanchored_at": model_state.reanchored_at,
        "solved_at": model_state.related.solved_at,
    }
    if (noised := model_state.noised) is not None:
        stored["noised"] = {
            "likes": noised.likes,
            "hours": noised.hours,
            "hour_scale": noised.hour_scale,
        }
    return json.dumps(stored).encode()


def parse_model_state(stored: bytes | None, payload: bytes | None) -> ModelState:
    """Return the model state of a round from the journal's two parts of it.

    `stored` is from `serialise_model_state`, `payload` is the round's serialised Global. Before the
    first round both are None, and the model state is empty.
    """
    if stored is None or payload is None:
        return ModelState()
    known, message = json.loads(stored), pb.Global.FromString(payload)
    codebook = Codebook(
        message.codebook.version,
        np.array(message.codebook.cluster_ids, np.uint32),
        np.frombuffer(message.codebook.anchors, "<f4").reshape(-1, DIMENSION).astype(np.float32),
        known["next_id"],
    )
    return ModelState(
        codebook if len(codebook.cluster_ids) else None,
        known["reanchored_at"],
        _to_clusters(message.clusters),
        RelatedState(
            to_dictionary(message.related),
            to_rows(message.related.rows),
            to_popular(message.popular),
            known.get("solved_at", 0.0),  # journals of earlier versions do not have it
        ),
        _to_noised(known.get("noised")),
    )


def _to_noised(stored: Mapping[str, Any] | None) -> NoisedState | None:
    if stored is None:
        return None
    hours = {int(hour): counts for hour, counts in stored["hours"].items()}  # JSON names are texts
    return NoisedState(stored["likes"], hours, stored["hour_scale"])


def _from_shard_report(shard: ShardReport) -> federation_pb2.RoundShard:
    return federation_pb2.RoundShard(
        address=shard.address,
        outcome=int(shard.outcome),  # type: ignore[arg-type]  # enums are ints
        problem=shard.problem,
        versions=[from_aggregate_version(version) for version in shard.versions],
        devices=shard.devices,
        pull_time=to_duration(shard.pull_seconds),
        pulled_bytes=shard.pulled_bytes,
        age=to_duration(shard.age_seconds),
        published=shard.is_published,
        publish_problem=shard.publish_problem,
        unavailable=[from_unavailable(each) for each in shard.unavailable],
    )


def _to_shard_report(message: federation_pb2.RoundShard) -> ShardReport:
    return ShardReport(
        address=message.address,
        outcome=ShardOutcome(message.outcome),
        problem=message.problem,
        versions=[to_aggregate_version(version) for version in message.versions],
        devices=message.devices,
        pull_seconds=_to_seconds(message.pull_time),
        pulled_bytes=message.pulled_bytes,
        age_seconds=_to_seconds(message.age),
        is_published=message.published,
        publish_problem=message.publish_problem,
        unavailable=[to_unavailable(each) for each in message.unavailable],
    )


def from_unavailable(shard: UnavailableShard) -> pb.UnavailableShard:
    """Return what did not answer a relay, as a message."""
    return pb.UnavailableShard(
        address=shard.address, shard_ids=shard.shard_ids, problem=shard.problem
    )


def to_unavailable(message: pb.UnavailableShard) -> UnavailableShard:
    """Return what did not answer a relay, from a message."""
    return UnavailableShard(message.address, list(message.shard_ids), message.problem)


def _from_coverage(coverage: Coverage) -> pb.Coverage:
    return pb.Coverage(
        shards_fresh=coverage.shards_fresh,
        shards_stale=coverage.shards_stale,
        shards_total=coverage.shards_total,
        devices_fresh=coverage.devices_fresh,
        devices_total=coverage.devices_total,
    )


def _to_coverage(message: pb.Coverage) -> Coverage:
    return Coverage(
        message.shards_fresh,
        message.shards_stale,
        message.shards_total,
        message.devices_fresh,
        message.devices_total,
    )


def _from_trends(trends: Sequence[FederatedTrend]) -> list[patterns_pb2.Trend]:
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


def _to_trends(messages: Iterable[patterns_pb2.Trend]) -> list[FederatedTrend]:
    trends = []
    for message in messages:
        is_global = message.scope == patterns_pb2.TREND_SCOPE_GLOBAL
        trends.append(
            FederatedTrend(
                message.content_id,
                message.genre,
                message.score,
                "" if is_global else message.region,
                is_global,
                Direction(message.direction),
                message.popularity,
            )
        )
    return trends


def _to_seconds(message: Duration | Timestamp) -> float:
    return message.ToNanoseconds() / 10**9  # of integers: exact before it is rounded once


def _from_clusters(clusters: Sequence[PublishedCluster], generation: int) -> pb.GlobalClusters:
    codes = np.frombuffer(b"".join(each.codes for each in clusters), np.int8)
    codes = codes.reshape(-1, DIMENSION)
    genres = encode_texts(each.genres for each in clusters)
    contents = encode_texts(each.content_ids for each in clusters)
    changed_at = [each.changed_at for each in clusters]
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
            created_at=changed_at,
            updated_at=changed_at,
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
    """Return the pattern id of a published cluster: another one for each revision of it."""
    key = struct.pack("<QIQ", generation, cluster.cluster_id, cluster.revision)
    return blake2b(key, digest_size=ID_BYTES).digest()
