"""The ledger: what every release has spent, by week and mechanism. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.federated.weeks import find_week
from federation.privacy.budget import RHO_ONE, Mechanism, get_norm_squared

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from constellation.federated.contribution import ContributionBounds
    from federation.privacy.budget import Budget

LEDGER_WEEKS: Final = 53
"""Weeks for which a journal keeps the rows of the ledger."""


class BudgetSpentError(ValueError):
    """A release for which its week has too little budget; what was last published stays."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One release: which data it published with noise, and what that spent."""

    mechanism: Mechanism
    data_epoch: int
    """Names the data: the hour since 1970 for hours, the week for likes and pairs. The same data is
    released once, so no two rows have the same mechanism and epoch."""
    week: int
    """The week in which it was published; see `find_week`."""
    units: int
    """The rho that it spent, in units of 1 / RHO_ONE."""
    scale: float
    """The standard deviation of its noise."""
    norm_squared: int
    """The squared norm of the most that one device adds."""
    round_id: int
    """The round that published it."""
    spent_at: float
    """Seconds since 1970."""

    @property
    def rho(self) -> float:
        return self.units / RHO_ONE


class Ledger:
    """The rows in the journal, and those that the present round adds to them."""

    def __init__(self, rows: Iterable[LedgerRow] = ()) -> None:
        self._rows = {(row.mechanism, row.data_epoch): row for row in rows}

    @property
    def rows(self) -> Sequence[LedgerRow]:
        """All rows, the oldest first."""
        return sorted(self._rows.values(), key=lambda row: (row.spent_at, row.mechanism))

    def has(self, mechanism: Mechanism, data_epoch: int) -> bool:
        """Return whether this data was released."""
        return (mechanism, data_epoch) in self._rows

    def find_newest_epoch(self, mechanism: Mechanism) -> int | None:
        """Return the newest data that was released; None before the first release."""
        return max((epoch for known, epoch in self._rows if known == mechanism), default=None)

    def count_units(self, week: int, mechanism: Mechanism | None = None) -> int:
        """Return what was spent in a week, by one mechanism or by all."""
        return sum(
            row.units
            for row in self._rows.values()
            if row.week == week and mechanism in (None, row.mechanism)
        )

    def spend(
        self,
        budget: Budget,
        mechanism: Mechanism,
        data_epoch: int,
        bounds: ContributionBounds,
        *,
        round_id: int,
        now: float,
    ) -> LedgerRow:
        """Return the row of a new release, and count it.

        The row must be durable before anything of the release is published. Raises BudgetSpentError
        if the week has too little left, AssertionError for data that was released before.
        """
        if self.has(mechanism, data_epoch):
            raise AssertionError(f"{mechanism} {data_epoch} was released before")
        week = find_week(now)
        units, spent = budget.get_units(mechanism), self.count_units(week)
        if units <= 0 or spent + units > budget.units:
            raise BudgetSpentError(
                f"{mechanism} would spend a rho of {units / RHO_ONE:.3g} of week {week}, which has "
                f"{max(budget.units - spent, 0) / RHO_ONE:.3g} of {budget.units / RHO_ONE:.3g} left"
            )
        row = LedgerRow(
            mechanism,
            data_epoch,
            week,
            units,
            budget.compute_scale(mechanism, bounds),
            get_norm_squared(mechanism, bounds),
            round_id,
            now,
        )
        self._rows[mechanism, data_epoch] = row
        return row
