from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from constellation.federated.aggregate import AggregateHeader, AggregateVersion
from constellation.federated.trends import Direction
from federation.merge.aggregates import ShardAggregate
from federation.merge.codebook import Codebook
from federation.merge.hourly_counts import HourlyWindow
from federation.merge.result import FederatedTrend, ModelState, RoundResult
from federation.report import (
    MAX_REPORTED_TRENDS,
    compute_coverage,
    explain_missing_quorum,
    report_publication,
    report_result,
    report_shards,
)
from federation.round_report import Coverage, RoundReport, RoundState, ShardOutcome, ShardReport
from federation.shards.client import PullResult
from federation.shards.fleet import PullOutcome
from tests.federation.aggregates import embedding, make_cluster_rows

CLOSED_AT = 1_800_000_000.0
PULLING = RoundReport(round_id=7, generation=1, state=RoundState.PULLING, started_at=CLOSED_AT - 10)


def make_aggregate(
    shard_id: int, devices: int, address: str, *, age_seconds: float = 0.0
) -> ShardAggregate:
    return ShardAggregate(
        AggregateVersion(shard_id, 1, 1),
        AggregateHeader("north", 1, 1, 0, devices),
        make_cluster_rows([1], [devices]),
        HourlyWindow(),
        CLOSED_AT - age_seconds,
        address,
    )


def make_outcome(address: str, problem: str = "", *, is_refused: bool = False) -> PullOutcome:
    result = PullResult(address, seconds=0.5, size_bytes=1234)
    return PullOutcome(result, problem, is_refused)


def report_one(outcome: PullOutcome, *usable: ShardAggregate) -> ShardReport:
    (report,) = report_shards([outcome], usable, CLOSED_AT)
    return report


def test_a_shard_that_answered_is_fresh() -> None:
    report = report_one(make_outcome("a:1"), make_aggregate(3, 6, "a:1"))

    assert report.outcome is ShardOutcome.FRESH
    assert (report.devices, report.pull_seconds, report.pulled_bytes) == (6, 0.5, 1234)
    assert [each.shard_id for each in report.versions] == [3]


def test_an_earlier_aggregate_makes_an_unavailable_shard_stale() -> None:
    report = report_one(
        make_outcome("a:1", "UNAVAILABLE"), make_aggregate(3, 6, "a:1", age_seconds=90)
    )

    assert report.outcome is ShardOutcome.STALE
    assert report.age_seconds == 90
    assert report.problem == "UNAVAILABLE"


def test_without_an_aggregate_an_unavailable_shard_is_missing() -> None:
    report = report_one(make_outcome("a:1", "UNAVAILABLE"), make_aggregate(3, 6, "b:1"))

    assert report.outcome is ShardOutcome.MISSING
    assert (report.devices, report.age_seconds) == (0, 0)


def test_a_refused_answer_is_rejected_even_with_an_earlier_aggregate() -> None:
    report = report_one(
        make_outcome("a:1", "clusters cannot be", is_refused=True), make_aggregate(3, 6, "a:1")
    )

    assert report.outcome is ShardOutcome.REJECTED


def test_a_relay_is_as_old_as_its_oldest_shard() -> None:
    report = report_one(
        make_outcome("relay:1"),
        make_aggregate(3, 6, "relay:1", age_seconds=20),
        make_aggregate(4, 7, "relay:1", age_seconds=90),
    )

    assert report.devices == 13
    assert report.age_seconds == 90


def test_coverage_counts_fresh_and_stale_shards_and_addresses_that_never_answered() -> None:
    north, south = make_aggregate(0, 6, "a:1"), make_aggregate(1, 7, "b:1")

    coverage = compute_coverage(
        ["a:1", "b:1", "c:1"], {0: north, 1: south}, [north, south], fresh_shard_ids={0}
    )

    assert coverage == Coverage(1, 1, 3, 6, 13)
    assert coverage.device_ratio == pytest.approx(6 / 13)


def test_a_shard_that_is_too_old_is_known_but_has_no_devices() -> None:
    north, old = make_aggregate(0, 6, "a:1"), make_aggregate(1, 7, "b:1")

    coverage = compute_coverage(["a:1", "b:1"], {0: north, 1: old}, [north], {0})

    assert coverage == Coverage(1, 0, 2, 6, 6)


def test_no_devices_are_no_coverage_and_no_shard_is_none_of_it() -> None:
    assert Coverage(shards_fresh=2, shards_total=2).device_ratio is None
    assert Coverage(shards_total=2).device_ratio == 0.0


def test_too_few_shards_are_no_quorum() -> None:
    coverage = Coverage(shards_fresh=2, shards_total=5, devices_fresh=10, devices_total=10)

    assert explain_missing_quorum(coverage, 2, 0.6) is None
    problem = explain_missing_quorum(coverage, 3, 0.6)
    assert problem is not None
    assert problem.startswith("2 of 5 shards answered, but MIN_SHARDS is 3")


def test_too_few_devices_are_no_quorum() -> None:
    coverage = Coverage(shards_fresh=3, shards_total=5, devices_fresh=59, devices_total=100)

    assert explain_missing_quorum(coverage, 3, 0.59) is None
    problem = explain_missing_quorum(coverage, 3, 0.6)
    assert problem is not None
    assert "59 of 100 devices, but MIN_COVERAGE is 0.6" in problem


def test_a_report_has_the_first_trends_and_the_number_of_all() -> None:
    codebook = Codebook(4, np.array([2], np.uint32), embedding(1).astype(np.float32)[None], 3)
    trends = [
        FederatedTrend(
            content_id=f"film:{rank}",
            genre="",
            score=9.0 - rank / 10,
            region="",
            is_global=True,
            direction=Direction.RISING,
            popularity=60.0,
        )
        for rank in range(30)
    ]
    result = RoundResult(codebook, {}, [], trends, ModelState(codebook))

    report = report_result(PULLING, result, b"payload")

    assert (report.anchor_count, report.codebook_version, report.cluster_count) == (1, 4, 0)
    assert report.trend_count == 30
    assert list(report.trends) == trends[:MAX_REPORTED_TRENDS]
    assert report.result_bytes == len(b"payload")
    assert report.result_sha256 == sha256(b"payload").digest()


def test_a_report_says_where_publishing_failed() -> None:
    shards = report_shards([make_outcome("a:1"), make_outcome("b:1")], [], CLOSED_AT)
    pulled = replace(PULLING, shards=shards)

    report = report_publication(pulled, {"b:1": "UNAVAILABLE"}, 0.5)

    assert [shard.is_published for shard in report.shards] == [True, False]
    assert [shard.publish_problem for shard in report.shards] == ["", "UNAVAILABLE"]
    assert report.publish_seconds == 0.5
    assert not any(shard.is_published for shard in pulled.shards)
