"""Signals: distinct devices for each content and hour, over a ring of 168 hours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.patterns import WordKind, reserve
from constellation.core.store import HourlyCounts
from constellation.core.words import LIMITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOURS: Final = 168
"""Hours the trends look back."""


class HourlyRing:
    """Counts of the last 168 hours, by content number; a row is the hour modulo 168."""

    def __init__(self) -> None:
        width = LIMITS[WordKind.CONTENT] + 1
        self._counts = reserve(HOURS * width, np.dtype("<u4")).reshape(HOURS, width)
        self._hours = np.zeros(HOURS, np.int64)
        self.newest = 0
        """The newest hour with a count; 0 before the first."""

    def count(self, hour: int, content: int) -> int:
        """Return the distinct devices of one content in one hour."""
        row = hour % HOURS
        return int(self._counts[row, content]) if self._hours[row] == hour else 0

    def put(self, counts: HourlyCounts) -> None:
        """Store absolute counts; those of an hour that left the ring are ignored."""
        for hour in np.unique(counts.hours).tolist():
            if hour <= self.newest - HOURS:
                continue
            self._open(hour)
            chosen = counts.hours == hour
            self._counts[hour % HOURS, counts.contents[chosen]] = counts.devices[chosen]

    def window(self, now_hour: int, contents: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the contents with a count, and counts (HOURS, those), `now_hour` in the last row.

        `contents` is the highest content number there is.
        """
        hours = np.arange(now_hour - HOURS + 1, now_hour + 1)
        current = self._hours[hours % HOURS] == hours
        rows = self._counts[:, : contents + 1]
        seen = np.flatnonzero(rows.any(axis=0))
        counts = rows[np.ix_(hours % HOURS, seen)].astype(np.float64)
        counts[~current] = 0
        return seen, counts

    def counts(self) -> HourlyCounts:
        """Return every count that is not zero."""
        rows, contents = np.nonzero(self._counts[:, : LIMITS[WordKind.CONTENT]])
        return HourlyCounts(
            self._hours[rows].astype(np.uint32),
            contents.astype(np.uint32),
            self._counts[rows, contents],
        )

    def _open(self, hour: int) -> None:
        row = hour % HOURS
        if self._hours[row] != hour:
            self._counts[row] = 0
            self._hours[row] = hour
        self.newest = max(self.newest, hour)


class SignalTally:
    """The signals of one commit: which count, and what the counts become."""

    def __init__(self, ring: HourlyRing, now_hour: int) -> None:
        self._ring = ring
        self._now_hour = now_hour
        self._added: dict[tuple[int, int], int] = {}

    def has_room(self, device: NDArray[np.void], hour: int) -> bool:
        """Say whether a device may send another signal for an hour.

        A device's hours only go forward, so its row needs to remember no more than one hour.
        """
        newest = int(device["signal_hour"])
        if not self._is_open(hour) or hour < newest:
            return False
        return hour > newest or 0 in device["signal_contents"]

    def admit(self, device: NDArray[np.void], hour: int, content: int) -> bool:
        """Count one signal for which there is room; say whether it counted.

        One that the device sent before in this hour does not, nor one that got no number.
        """
        if hour > device["signal_hour"]:
            device["signal_hour"] = hour
            device["signal_contents"] = 0
        seen = device["signal_contents"]
        if content in seen or not content:
            return False
        seen[np.flatnonzero(seen == 0)[0]] = content
        self._added[hour, content] = self._added.get((hour, content), 0) + 1
        return True

    def counts(self) -> HourlyCounts:
        """Return the new absolute counts."""
        hours = np.array([hour for hour, _ in self._added], np.uint32)
        contents = np.array([content for _, content in self._added], np.uint32)
        devices = [self._ring.count(h, c) + more for (h, c), more in self._added.items()]
        return HourlyCounts(hours, contents, np.array(devices, np.uint32))

    def _is_open(self, hour: int) -> bool:
        return self._now_hour - HOURS < hour <= self._now_hour + 1
