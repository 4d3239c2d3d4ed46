"""Presence: which devices are alive, though they may have nothing to send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.wall_clock import read_clock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from constellation.core.table.shard_table import Table

_BATCH: Final = 1024
"""Signs of life that are looked up together: one lookup costs as much as a hundred of them."""


class Presence:
    """Notes signs of life, and writes them to the table's `heard_at` now and then."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._noted: set[bytes] = set()

    def note(self, device_id: bytes) -> None:
        """Note a sign of life; nothing is kept of a device that never synced."""
        self._noted.add(device_id)
        if len(self._noted) >= _BATCH:
            self.settle((), read_clock())

    def settle(self, connected_ids: Iterable[bytes], now: float) -> None:
        """Record in the table that the noted devices, and those connected now, are alive."""
        devices = self._table.find_devices([*self._noted.union(connected_ids)])
        self._table.heard_at[devices[devices >= 0]] = int(now)
        self._noted.clear()
