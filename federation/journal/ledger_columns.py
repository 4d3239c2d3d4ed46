"""The columns of the ledger in both databases: the fields of a LedgerRow, in their order."""

from __future__ import annotations

from typing import Any, Final

from federation.privacy.budget import Mechanism
from federation.privacy.ledger import LedgerRow

LEDGER_COLUMNS: Final = (
    "mechanism, data_epoch, week, units, scale, norm_squared, round_id, spent_at"
)


def to_ledger_values(row: LedgerRow) -> tuple[str | int | float, ...]:
    """Return the values of a row, in the order of the columns."""
    return (
        row.mechanism.value,
        row.data_epoch,
        row.week,
        row.units,
        row.scale,
        row.norm_squared,
        row.round_id,
        row.spent_at,
    )


def to_ledger_row(mechanism: str, *numbers: Any) -> LedgerRow:
    """Return the row of these values."""
    return LedgerRow(Mechanism(mechanism), *numbers)
