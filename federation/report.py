"""Summary: what operators are told of a round."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from constellation.transport.codec.aggregates import from_aggregate_version
from constellation.transport.codec.times import to_duration
from constellation.v1 import aggregates_pb2
from constellation.v1 import federation_pb2 as pb
from federation.messages import from_trends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.merge.cluster_sums import ShardAggregate
    from federation.merge.result import RoundResult
    from federation.shards.fleet import Fleet, PullOutcome, Sweep

MAX_REPORTED_TRENDS: Final = 20
"""Trends in a summary, the strongest."""


def report_shards(
    report: pb.Round, fleet: Fleet, sweep: Sweep, usable: Sequence[ShardAggregate]
) -> None:
    """Tell what became of each shard, and whom the round speaks for."""
    closed = report.closed_at.ToNanoseconds() / 1e9
    for answer in sweep.outcomes:
        report.shards.append(_to_round_shard(answer, usable, closed))
    aggregates = fleet.aggregates
    devices = {each.version.shard_id: each.facts.devices for each in usable}
    addresses = {aggregate.address for aggregate in aggregates.values()}
    unknown_shards = sum(shard.address not in addresses for shard in report.shards)
    report.coverage.CopyFrom(
        aggregates_pb2.Coverage(
            shards_fresh=len(sweep.fresh_shard_ids),
            shards_stale=sum(each.version.shard_id not in sweep.fresh_shard_ids for each in usable),
            shards_total=len(aggregates) + unknown_shards,
            devices_fresh=sum(devices.get(shard_id, 0) for shard_id in sweep.fresh_shard_ids),
            devices_total=sum(devices.values()),
        )
    )


def report_result(report: pb.Round, result: RoundResult, payload: bytes) -> None:
    """Tell what the round made."""
    report.anchor_count = len(result.codebook.cluster_ids)
    report.codebook_version = result.codebook.version
    report.cluster_count = len(result.clusters)
    report.trend_count = len(result.trends)
    report.trends.extend(from_trends(result.trends[:MAX_REPORTED_TRENDS]))
    report.result_bytes = len(payload)
    report.result_sha256 = sha256(payload).digest()


def explain_missing_quorum(
    coverage: aggregates_pb2.Coverage, min_shards: int, min_coverage: float
) -> str | None:
    """Return why a round may not be published, None when it may."""
    if coverage.shards_fresh < min_shards:
        return (
            f"{coverage.shards_fresh} of {coverage.shards_total} shards were heard, and "
            f"MIN_SHARDS is {min_shards}"
        )
    if coverage.devices_fresh < min_coverage * coverage.devices_total:
        return (
            f"the shards that were heard have {coverage.devices_fresh} of "
            f"{coverage.devices_total} devices, and MIN_COVERAGE is {min_coverage:g}"
        )
    return None


def _to_round_shard(
    answer: PullOutcome, usable: Sequence[ShardAggregate], closed: float
) -> pb.RoundShard:
    pulled = answer.result
    aggregates = [each for each in usable if each.address == pulled.address]
    outcome = pb.SHARD_OUTCOME_FRESH
    if answer.is_refused:
        outcome = pb.SHARD_OUTCOME_REJECTED
    elif answer.problem:
        outcome = pb.SHARD_OUTCOME_STALE if aggregates else pb.SHARD_OUTCOME_MISSING
    oldest_heard_at = min((each.heard_at for each in aggregates), default=closed)
    return pb.RoundShard(
        address=pulled.address,
        outcome=outcome,
        problem=answer.problem,
        versions=[from_aggregate_version(each.version) for each in aggregates],
        devices=sum(each.facts.devices for each in aggregates),
        pull_time=to_duration(pulled.seconds),
        pulled_bytes=pulled.size_bytes,
        age=to_duration(max(0.0, closed - oldest_heard_at)),
    )
