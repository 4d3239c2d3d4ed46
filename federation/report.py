"""Builds the report of a round: what became of each shard, what it covers, what it published."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from federation.round_report import (
    Coverage,
    RoundReport,
    ShardOutcome,
    ShardReport,
    UnavailableShard,
)
from federation.shards.assembly import MAX_TEXT_LENGTH, MAX_UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from federation.merge.aggregates import ShardAggregate
    from federation.merge.result import RoundResult
    from federation.related.result import RelatedResult
    from federation.shards.fleet import PullOutcome

MAX_REPORTED_TRENDS: Final = 20
"""A report has at most this many trends; the result of the round has all of them."""


def report_shards(
    outcomes: Sequence[PullOutcome], usable: Sequence[ShardAggregate], closed_at: float
) -> list[ShardReport]:
    """Return a report on each address that was asked, in the order of `outcomes`.

    `usable` are the aggregates that the round uses; it closed at `closed_at`, in seconds since
    1970.
    """
    return [_report_shard(outcome, usable, closed_at) for outcome in outcomes]


def _report_shard(
    outcome: PullOutcome, usable: Sequence[ShardAggregate], closed_at: float
) -> ShardReport:
    pulled = outcome.result
    used = [each for each in usable if each.address == pulled.address]
    oldest_received_at = min((each.received_at for each in used), default=closed_at)
    return ShardReport(
        address=pulled.address,
        outcome=_classify(outcome, has_aggregate=bool(used)),
        problem=outcome.problem,
        versions=[each.version for each in used],
        devices=sum(each.header.devices for each in used),
        pull_seconds=pulled.seconds,
        pulled_bytes=pulled.size_bytes,
        age_seconds=max(0.0, closed_at - oldest_received_at),
        unavailable=pulled.unavailable,
    )


def _classify(outcome: PullOutcome, *, has_aggregate: bool) -> ShardOutcome:
    if outcome.is_refused:
        return ShardOutcome.REJECTED
    if not outcome.problem:
        return ShardOutcome.FRESH
    return ShardOutcome.STALE if has_aggregate else ShardOutcome.MISSING


def find_unavailable(
    outcomes: Sequence[PullOutcome], known: Mapping[int, ShardAggregate]
) -> list[UnavailableShard]:
    """Return what did not answer, here or behind relays, for a federation above.

    `known` are all aggregates of the fleet by shard_id.
    """
    found = []
    for outcome in outcomes:
        address = outcome.result.address
        if outcome.problem:
            shard_ids = sorted(each for each in known if known[each].address == address)
            problem = outcome.problem[:MAX_TEXT_LENGTH]
            found.append(UnavailableShard(address[:MAX_TEXT_LENGTH], shard_ids, problem))
        found += outcome.result.unavailable
    return found[:MAX_UNAVAILABLE]


def find_asked(shards: Sequence[ShardReport]) -> list[str]:
    """Return the addresses that were asked, and those that relays asked without an answer."""
    return [shard.address for shard in shards] + [
        each.address for shard in shards for each in shard.unavailable if not each.shard_ids
    ]


def compute_coverage(
    asked: Collection[str],
    known: Mapping[int, ShardAggregate],
    usable: Sequence[ShardAggregate],
    fresh_shard_ids: Collection[int],
) -> Coverage:
    """Return how many shards and devices a round represents.

    `asked` are the addresses that were asked, and those that relays asked and did not hear;
    `known` all aggregates of the fleet by shard_id, and `usable` those that the round uses. An
    address of which no aggregate is known counts as one shard without devices.
    """
    devices = {each.version.shard_id: each.header.devices for each in usable}
    known_addresses = {each.address for each in known.values()}
    return Coverage(
        shards_fresh=len(fresh_shard_ids),
        shards_stale=sum(shard_id not in fresh_shard_ids for shard_id in devices),
        shards_total=len(known) + sum(address not in known_addresses for address in asked),
        devices_fresh=sum(devices.get(shard_id, 0) for shard_id in fresh_shard_ids),
        devices_total=sum(devices.values()),
    )


def explain_missing_quorum(coverage: Coverage, min_shards: int, min_coverage: float) -> str | None:
    """Return why a round with this coverage may not be published; None if it may."""
    if coverage.shards_fresh < min_shards:
        return (
            f"{coverage.shards_fresh} of {coverage.shards_total} shards answered, but MIN_SHARDS "
            f"is {min_shards}: `federation round` says what became of each shard"
        )
    if coverage.devices_fresh < min_coverage * coverage.devices_total:
        return (
            f"the shards that answered have {coverage.devices_fresh} of {coverage.devices_total} "
            f"devices, but MIN_COVERAGE is {min_coverage:g}: `federation round` says what became "
            "of each shard"
        )
    return None


def report_result(report: RoundReport, result: RoundResult, payload: bytes) -> RoundReport:
    """Return the report with what the round publishes; `payload` is the serialised result."""
    related = result.model_state.related
    return replace(
        report,
        anchor_count=len(result.codebook.cluster_ids),
        codebook_version=result.codebook.version,
        cluster_count=len(result.clusters),
        trend_count=len(result.trends),
        trends=result.trends[:MAX_REPORTED_TRENDS],
        result_bytes=len(payload),
        result_sha256=sha256(payload).digest(),
        dictionary_size=len(related.dictionary.content_ids),
        related_count=len(related.rows),
        popular_count=len(related.popular),
    )


def report_related(report: RoundReport, related: RelatedResult, seconds: float) -> RoundReport:
    """Return the report of a round that computed related content, which took `seconds`."""
    return replace(
        report,
        contributors=related.contributors,
        related_changed_count=related.changed_row_count,
        solve_seconds=seconds,
    )


def report_publication(
    report: RoundReport, problems: Mapping[str, str], publish_seconds: float
) -> RoundReport:
    """Return the report after publishing; `problems` says by address why it did not succeed."""
    shards = [
        replace(
            shard,
            publish_problem=problems.get(shard.address, ""),
            is_published=shard.address not in problems,
        )
        for shard in report.shards
    ]
    return replace(report, shards=shards, publish_seconds=publish_seconds)
