"""What happened in a federation since its start, for metrics and health."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from constellation.histogram import MINUTES, Histogram
from federation.round_report import RoundState

if TYPE_CHECKING:
    from federation.round_report import RoundReport


@dataclass(slots=True)
class RoundStats:
    """What happened in this process since its start, for metrics and health."""

    rounds: dict[RoundState, int] = field(
        default_factory=lambda: dict.fromkeys((RoundState.PUBLISHED, RoundState.NO_QUORUM), 0)
    )
    """Finished rounds by final state; each state is present from the start."""
    aggregates_rejected: int = 0
    """Answers that were refused."""
    pulls_unanswered: int = 0
    """Pulls without an answer."""
    durations: Histogram = field(default_factory=partial(Histogram, MINUTES))
    """How long rounds took."""
    clusters_pulled: int = 0
    """Cluster rows in all pulls."""
    trends_published: int = 0
    """Trends in all published rounds."""
    cluster_count: int = 0
    """Clusters in the last published round."""
    related_count: int = 0
    """Rows of related content in the last published round."""
    related_changed: int = 0
    """Rows of related content that were new or changed, in all published rounds."""
    contributors: int = 0
    """Devices that contributed to related and popular content when it was last computed."""
    solve_seconds: float = 0.0
    """How long it took to compute that."""
    last_report: RoundReport | None = None
    """The newest round whose pulls have ended, by this process or an earlier one."""
    published_at: float | None = None
    """When the process before this one last published a global: seconds since 1970.

    If none was ever published: when this federation became the active one. None before that.
    """

    def observe_publication(self, report: RoundReport) -> None:
        """Count what a round published."""
        self.trends_published += report.trend_count
        self.cluster_count = report.cluster_count
        self.related_count = report.related_count
        self.related_changed += report.related_changed_count
        if report.solve_seconds is not None:
            self.contributors, self.solve_seconds = report.contributors, report.solve_seconds

    @property
    def coverage_ratio(self) -> float | None:
        """The share of the known devices that the last round covered, from 0 to 1.

        None before the first round, for a relay, and while the shards have no devices.
        """
        report = self.last_report
        return report.coverage.device_ratio if report and report.coverage else None
