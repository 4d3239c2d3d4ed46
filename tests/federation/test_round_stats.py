from __future__ import annotations

from federation.round_report import Coverage, RoundReport, RoundState
from federation.round_stats import RoundStats


def make_report(round_id: int = 1, **fields: object) -> RoundReport:
    return RoundReport(
        round_id=round_id,
        generation=1,
        state=RoundState.PUBLISHED,
        started_at=0.0,
        **fields,  # type: ignore[arg-type]  # as a test gives them
    )


def test_trends_and_changed_rows_add_up_and_the_rest_is_of_the_last_round() -> None:
    stats = RoundStats()

    stats.observe_publication(
        make_report(1, trend_count=3, cluster_count=8, related_count=5, related_changed_count=5)
    )
    stats.observe_publication(
        make_report(2, trend_count=4, cluster_count=7, related_count=6, related_changed_count=1)
    )

    assert (stats.trends_published, stats.related_changed) == (7, 6)
    assert (stats.cluster_count, stats.related_count) == (7, 6)


def test_a_round_that_did_not_compute_related_content_keeps_the_earlier_figures() -> None:
    stats = RoundStats()

    stats.observe_publication(make_report(1, contributors=9, solve_seconds=0.5))
    stats.observe_publication(make_report(2))

    assert (stats.contributors, stats.solve_seconds) == (9, 0.5)


def test_every_final_state_is_counted_from_the_start() -> None:
    assert RoundStats().rounds == {RoundState.PUBLISHED: 0, RoundState.NO_QUORUM: 0}
    assert RoundStats().rounds is not RoundStats().rounds


def test_coverage_is_unknown_before_the_first_round_and_for_a_relay() -> None:
    stats = RoundStats()
    assert stats.coverage_ratio is None

    stats.last_report = make_report()
    assert stats.coverage_ratio is None

    stats.last_report = make_report(coverage=Coverage(1, 1, 2, 3, 4))
    assert stats.coverage_ratio == 0.75
