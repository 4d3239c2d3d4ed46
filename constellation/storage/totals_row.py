"""Totals as a row of SQL, in the same order of columns in every store.

The order is: lsn, patterns, devices, then the digests of patterns, devices, counts, liked content
and groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from constellation.core.store import Totals
from constellation.storage.digests import (
    to_signed,
    to_signed_or_none,
    to_unsigned,
    to_unsigned_or_none,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def encode_totals(totals: Totals) -> tuple[int | None, ...]:
    """Return totals as a row."""
    return (
        totals.lsn,
        totals.patterns,
        totals.devices,
        to_signed(totals.pattern_digest),
        to_signed(totals.device_digest),
        to_signed_or_none(totals.count_digest),
        to_signed(totals.liked_digest),
        to_signed(totals.group_digest),
    )


def decode_totals(row: Sequence[Any]) -> Totals:
    """Return the totals of a row."""
    lsn, patterns, devices, pattern_digest, device_digest, count_digest, *others = row
    liked_digest, group_digest = others
    return Totals(
        lsn,
        patterns,
        devices,
        to_unsigned(pattern_digest),
        to_unsigned(device_digest),
        to_unsigned_or_none(count_digest),
        to_unsigned(liked_digest),
        to_unsigned(group_digest),
    )
