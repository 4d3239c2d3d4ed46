"""SignalTally: decides which watch signals of a commit count, and what the counts become."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import MAX_SIGNALS_PER_HOUR, TermKind
from constellation.core.store import HourlyCounts, no_counts
from constellation.core.table.hourly import BLOCK_NUMBERS, RING_HOURS, HourlyRing
from constellation.federated.contribution import SIGNALS_PER_WEEK

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SignalTally:
    """The signals of one commit. A signal says that a device watched a content item in an hour."""

    def __init__(
        self,
        ring: HourlyRing,
        content_genres: NDArray[np.uint16],
        now_hour: int,
        hourly_limit: int = MAX_SIGNALS_PER_HOUR,
        weekly_limit: int = SIGNALS_PER_WEEK,
    ) -> None:
        """Begin a commit. The limits say how many signals of one device count in that time."""
        self._hourly_limit = hourly_limit
        self._weekly_limit = weekly_limit
        self._ring = ring
        self._content_genres = content_genres
        self._now_hour = now_hour
        self._increments: dict[tuple[int, TermKind, int], int] = {}
        self._new_blocks: set[tuple[int, int]] = set()
        """Hours and blocks that this commit uses first."""
        self._genres_by_content: dict[int, frozenset[int]] = {}
        """The genres of the content items met so far."""

    def find_hour(self, hour: int) -> int:
        """Return the hour in which a signal counts.

        The clock of a device may be an hour ahead. Its signals count now, because a count in the
        future would end the oldest hour of every trend.
        """
        return self._now_hour if hour == self._now_hour + 1 else hour

    def has_room(self, device: NDArray[np.void], hour: int) -> bool:
        """Return whether another signal of a device for an hour may count.

        A device's hours only go forward, so its row remembers no more than one hour.
        """
        newest = int(device["signal_hour"])
        if not self._is_open_hour(hour) or hour < newest:
            return False
        if device["week_signals"] >= self._weekly_limit:
            return False
        taken = int(np.count_nonzero(device["signal_contents"]))
        return hour > newest or taken < self._hourly_limit

    def add_signal(
        self, device: NDArray[np.void], hour: int, content: int, *, counts: bool = True
    ) -> bool:
        """Count one signal for which there is room; return whether it was taken in.

        Of a device that does not count for others, it is only noted in the device's row.
        A signal does not count when the device sent it before in this hour, when its content id got
        no number, or when the ring has no memory left for it. A genre counts once for each device
        and hour: with the first content item that has it.
        """
        if hour > device["signal_hour"]:
            device["signal_hour"] = hour
            device["signal_contents"] = 0
        seen = device["signal_contents"].tolist()
        if content in seen or not content:
            return False
        if counts and not self._has_memory(hour, content):
            return False
        device["signal_contents"][seen.index(0)] = content
        device["week_signals"] += 1
        if not counts:
            return True
        self._add(hour, TermKind.CONTENT, content)
        for genre in self._find_genres(content).difference(*map(self._find_genres, seen)):
            self._add(hour, TermKind.GENRE, genre)
        return True

    def counts(self) -> HourlyCounts:
        """Return the absolute counts after this commit, of the terms whose count changed."""
        if not self._increments:
            return no_counts()
        hours, kinds, numbers = np.array(list(self._increments), np.uint32).T
        devices = [
            self._ring.count(kind, hour, number) + increment
            for (hour, kind, number), increment in self._increments.items()
        ]
        return HourlyCounts(hours, kinds.astype(np.uint8), numbers, np.array(devices, np.uint32))

    def _add(self, hour: int, kind: TermKind, number: int) -> None:
        key = hour, kind, number
        self._increments[key] = self._increments.get(key, 0) + 1

    def _has_memory(self, hour: int, content: int) -> bool:
        """Return whether the ring can count a content item in an hour, and take what that needs."""
        if self._ring.has_block(TermKind.CONTENT, hour, content):
            return True
        block = (hour, content // BLOCK_NUMBERS)
        if block in self._new_blocks:
            return True
        if self._ring.used_blocks + len(self._new_blocks) >= self._ring.max_blocks:
            return False
        self._new_blocks.add(block)
        return True

    def _find_genres(self, content: int) -> frozenset[int]:
        genres = self._genres_by_content.get(content)
        if genres is None:
            genres = self._genres_by_content[content] = frozenset(
                self._content_genres[content].tolist()
            ) - {0}
        return genres

    def _is_open_hour(self, hour: int) -> bool:
        return self._now_hour - RING_HOURS < hour <= self._now_hour and self._ring.holds(hour)
