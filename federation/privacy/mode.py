"""PrivacyMode: the budget, the noise and the ledger of a federation that publishes with noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from constellation.federated.weeks import find_week
from federation.privacy.budget import RHO_ONE, Mechanism
from federation.privacy.ledger import BudgetSpentError, Ledger, LedgerRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from constellation.federated.contribution import ContributionBounds
    from federation.privacy.budget import Budget, NoiseSource


log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class ReleasePlan:
    """The releases of one round: what they spend, and what was refused for want of budget."""

    budget: Budget
    noise: NoiseSource
    ledger: Ledger
    """With the rows of this round."""
    round_id: int
    now: float
    """When the round closed: seconds since 1970. It decides the week."""
    rows: list[LedgerRow] = field(default_factory=list)
    """What this round adds to the ledger."""
    refusals: list[str] = field(default_factory=list)
    """Why a release was refused."""

    def spend(
        self, mechanism: Mechanism, data_epoch: int, bounds: ContributionBounds
    ) -> LedgerRow | None:
        """Return the row of a release that may happen; None if the budget of the week is spent."""
        try:
            row = self.ledger.spend(
                self.budget, mechanism, data_epoch, bounds, round_id=self.round_id, now=self.now
            )
        except BudgetSpentError as error:
            self.refusals.append(str(error))
            return None
        self.rows.append(row)
        return row


class PrivacyMode:
    """What a federation with PRIVACY_EPSILON has spent, and may spend."""

    def __init__(self, budget: Budget, noise: NoiseSource) -> None:
        self.budget = budget
        self.noise = noise
        self.releases_refused = 0
        """Releases that were refused since the start of this process."""
        self._rows: list[LedgerRow] = []

    @property
    def ledger(self) -> Ledger:
        """The durable rows."""
        return Ledger(self._rows)

    def restore(self, rows: Iterable[LedgerRow]) -> None:
        """Continue from the rows in the journal."""
        self._rows = list(rows)

    def plan(self, round_id: int, now: float) -> ReleasePlan:
        """Return the plan of a round. It spends nothing until `adopt`."""
        return ReleasePlan(self.budget, self.noise, self.ledger, round_id, now)

    def adopt(self, rows: Sequence[LedgerRow]) -> None:
        """Take over rows that are durable now."""
        self._rows += rows

    def compute_epsilon(self, units: int) -> float:
        """Return the epsilon of what a week has spent."""
        return self.noise.compute_epsilon(units / RHO_ONE, self.budget.delta / 2)

    def note_refusals(self, plan: ReleasePlan) -> None:
        """Count and log the releases that a round was refused."""
        self.releases_refused += len(plan.refusals)
        for problem in plan.refusals:
            log.warning("release_refused", round_id=plan.round_id, problem=problem)

    def needs_likes(self, now: float) -> bool:
        """Return whether a round that begins at `now` should ask the shards for likes and pairs."""
        ledger, week = self.ledger, find_week(now)
        left = self.budget.units - ledger.count_units(week)
        return any(
            not ledger.has(each, week) and 0 < self.budget.get_units(each) <= left
            for each in (Mechanism.LIKES, Mechanism.PAIRS)
        )
