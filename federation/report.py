"""Summary: what operators are told of a round."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from constellation.transport.codec.aggregates import from_version
from constellation.v1 import aggregates_pb2
from constellation.v1 import federation_pb2 as pb
from federation.messages import from_trends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.merge.cluster_sums import ShardAggregate
    from federation.merge.result import Result
    from federation.shards.fleet import Answer, Fleet, Heard

TRENDS_SHOWN: Final = 20
"""Trends in a summary, the strongest."""


def describe(told: pb.Round, fleet: Fleet, heard: Heard, usable: Sequence[ShardAggregate]) -> None:
    """Tell what became of each shard, and whom the round speaks for."""
    closed = told.closed_at.ToNanoseconds() / 1e9
    for answer in heard.answers:
        told.shards.append(_shard(answer, usable, closed))
    known = fleet.aggregates
    devices = {each.of.shard_id: each.facts.devices for each in usable}
    addresses = {aggregate.address for aggregate in known.values()}
    unknown = sum(shard.address not in addresses for shard in told.shards)
    told.coverage.CopyFrom(
        aggregates_pb2.Coverage(
            shards_heard=len(heard.fresh),
            shards_aged=sum(each.of.shard_id not in heard.fresh for each in usable),
            shards_known=len(known) + unknown,
            devices_heard=sum(devices.get(shard_id, 0) for shard_id in heard.fresh),
            devices_known=sum(devices.values()),
        )
    )


def summarise(told: pb.Round, result: Result, payload: bytes) -> None:
    """Tell what the round made."""
    told.anchor_count = len(result.codebook.cluster_ids)
    told.codebook_version = result.codebook.version
    told.cluster_count = len(result.clusters)
    told.trend_count = len(result.trends)
    told.trends.extend(from_trends(result.trends[:TRENDS_SHOWN]))
    told.result_bytes = len(payload)
    told.result_sha256 = sha256(payload).digest()


def lacks_quorum(
    coverage: aggregates_pb2.Coverage, min_shards: int, min_coverage: float
) -> str | None:
    """Return why a round may not be published, None when it may."""
    if coverage.shards_heard < min_shards:
        return (
            f"{coverage.shards_heard} of {coverage.shards_known} shards were heard, and "
            f"MIN_SHARDS is {min_shards}"
        )
    if coverage.devices_heard < min_coverage * coverage.devices_known:
        return (
            f"the shards that were heard have {coverage.devices_heard} of "
            f"{coverage.devices_known} devices, and MIN_COVERAGE is {min_coverage:g}"
        )
    return None


def moment(seconds: float) -> Timestamp:
    """Return seconds since 1970 as a timestamp."""
    found = Timestamp()
    found.FromNanoseconds(int(seconds * 1e9))
    return found


def duration(seconds: float) -> Duration:
    found = Duration()
    found.FromNanoseconds(int(seconds * 1e9))
    return found


def _shard(answer: Answer, usable: Sequence[ShardAggregate], closed: float) -> pb.RoundShard:
    pulled = answer.pulled
    mine = [each for each in usable if each.address == pulled.address]
    outcome = pb.SHARD_OUTCOME_HEARD
    if answer.refused:
        outcome = pb.SHARD_OUTCOME_REFUSED
    elif answer.problem:
        outcome = pb.SHARD_OUTCOME_AGED if mine else pb.SHARD_OUTCOME_MISSING
    oldest = min((each.heard_at for each in mine), default=closed)
    return pb.RoundShard(
        address=pulled.address,
        outcome=outcome,
        problem=answer.problem,
        versions=[from_version(each.of) for each in mine],
        devices=sum(each.facts.devices for each in mine),
        pull_time=duration(pulled.seconds),
        pulled_bytes=pulled.size_bytes,
        age=duration(max(0.0, closed - oldest)),
    )
