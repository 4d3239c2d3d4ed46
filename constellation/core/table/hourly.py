"""Hourly counts: distinct devices per content item, genre and hour, over the last 168 hours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.distinct import find_distinct
from constellation.core.rows import DIGEST_MODULUS, TermKind, hash_rows, release, reserve
from constellation.core.store import HourlyCounts, no_counts
from constellation.core.table.vocabulary import TERM_LIMITS
from constellation.federated.trends import WINDOW_HOURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


RING_HOURS: Final = WINDOW_HOURS
"""Hours the trends look back."""


BLOCK_NUMBERS: Final = 1024
"""Numbers of terms whose counts of one hour share memory: a page of counts, two of versions."""
_BLOCK_BYTES: Final = BLOCK_NUMBERS * (4 + 8)
DEFAULT_MAX_BYTES: Final = 1 << 30


class HourlyRing:
    """Counts of the last 168 hours by kind and number of a term, in a ring of rows.

    An hour's row is the hour modulo RING_HOURS. Hours are counted from 1970, UTC.

    A count uses memory in blocks of BLOCK_NUMBERS neighbouring numbers in one hour. Devices choose
    the numbers, so the blocks are bounded: `max_bytes` is how much the ring may use.
    """

    def __init__(
        self, stored: HourlyCounts | None = None, max_bytes: int = DEFAULT_MAX_BYTES
    ) -> None:
        self.max_blocks = max_bytes // _BLOCK_BYTES
        self.newest_hour = 0
        """The newest hour with a count; 0 before the first."""
        self.version = 0
        """Grows by 1 with each `put` of at least one count; the loaded counts have version 0."""
        self._hours = np.zeros(RING_HOURS, np.int64)
        """The hour of each row; 0 for none."""
        self._first_open_hour = 0
        self._kinds = {kind: _KindCounts(TERM_LIMITS[kind]) for kind in TermKind}
        self.digests = _digest_by_hour(stored or no_counts())
        """By hour: the sum of the hashes of its stored counts, modulo DIGEST_MODULUS."""
        self._write(stored or no_counts(), 0)

    @property
    def digest(self) -> int:
        """Return the sum of the hashes of all stored counts, as a store keeps it as a proof."""
        return sum(self.digests.values()) % DIGEST_MODULUS

    def compute_digests_with(self, counts: HourlyCounts, oldest_hour: int) -> dict[int, int]:
        """Return what `digests` will be after counts are stored, and earlier hours deleted."""
        digests = {hour: each for hour, each in self.digests.items() if hour >= oldest_hour}
        if not len(counts.hours):
            return digests
        added, replaced = _digest_by_hour(counts), _digest_by_hour(self._find_stored(counts))
        for hour, digest in added.items():
            change = digest - replaced.get(hour, 0)
            digests[hour] = (digests.get(hour, 0) + change) % DIGEST_MODULUS
        return digests

    def holds(self, hour: int) -> bool:
        """Return whether counts of an hour can be stored: it was not closed, nor its row reused."""
        return hour >= self._first_open_hour and hour > self.newest_hour - RING_HOURS

    def close_before(self, hour: int) -> None:
        """Forget all earlier hours for good, as the store has, and give their memory back.

        They stay closed when the clock goes back: their counts would begin from nothing again.
        """
        if hour <= self._first_open_hour:
            return
        self._first_open_hour = hour
        for row in np.flatnonzero((self._hours > 0) & (self._hours < hour)).tolist():
            for counts in self._kinds.values():
                counts.clear(row)
            self._hours[row] = 0

    def count(self, kind: TermKind, hour: int, number: int) -> int:
        """Return the distinct devices of one term in one hour; 0 for an hour outside the ring."""
        row = hour % RING_HOURS
        return int(self._kinds[kind].devices[row, number]) if self._hours[row] == hour else 0

    @property
    def used_blocks(self) -> int:
        """Return how many blocks have counts."""
        return sum(counts.used_blocks for counts in self._kinds.values())

    def has_block(self, kind: TermKind, hour: int, number: int) -> bool:
        """Return whether a count of a term and hour needs no further memory."""
        row = hour % RING_HOURS
        return self._hours[row] == hour and self._kinds[kind].has_block(row, number)

    def put(self, counts: HourlyCounts) -> None:
        """Store absolute counts; counts of an hour that left the ring are ignored."""
        if len(counts.hours):
            self._write(counts, self.version + 1)
            self.version += 1  # last, so that a thread that reads it sees all earlier counts

    def window(
        self, kind: TermKind, now_hour: int, highest: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the numbers with a count, shape (n,), and their counts, shape (RING_HOURS, n).

        `now_hour` is the last row. `highest` is the highest number of that kind.
        """
        hours = np.arange(now_hour - RING_HOURS + 1, now_hour + 1)
        current = self._hours[hours % RING_HOURS] == hours
        rows = self._kinds[kind].devices[:, : highest + 1]
        seen = np.flatnonzero(rows.any(axis=0))
        counts = rows[np.ix_(hours % RING_HOURS, seen)].astype(np.float64)
        counts[~current] = 0
        return seen, counts

    def counts(self) -> HourlyCounts:
        """Return every count that is not zero."""
        return self.changed_since(-1)

    def changed_since(self, version: int) -> HourlyCounts:
        """Return every nonzero count that was put after `version`; with -1, all of them."""
        parts = list(self._iterate_changed(version))
        if not parts:
            return no_counts()
        sizes = [len(numbers) for _, _, numbers, _ in parts]
        return HourlyCounts(
            np.repeat(np.array([hour for hour, _, _, _ in parts], np.uint32), sizes),
            np.repeat(np.array([kind for _, kind, _, _ in parts], np.uint8), sizes),
            np.concatenate([numbers for _, _, numbers, _ in parts]).astype(np.uint32),
            np.concatenate([devices for _, _, _, devices in parts]),
        )

    def _find_stored(self, counts: HourlyCounts) -> HourlyCounts:
        """Return the stored counts, not zero, of the same terms and hours."""
        devices = np.zeros(len(counts.hours), np.uint32)
        rows = counts.hours.astype(np.int64) % RING_HOURS
        is_held = self._hours[rows] == counts.hours
        for kind, stored in self._kinds.items():
            chosen = is_held & (counts.kinds == kind)
            devices[chosen] = stored.devices[rows[chosen], counts.numbers[chosen]]
        kept = devices > 0
        return HourlyCounts(
            counts.hours[kept], counts.kinds[kept], counts.numbers[kept], devices[kept]
        )

    def _iterate_changed(
        self, version: int
    ) -> Iterator[tuple[int, TermKind, NDArray[np.int64], NDArray[np.uint32]]]:
        """Yield the hour, kind, numbers and devices of the counts put after a version."""
        for hour in np.sort(
            self._hours[self._hours > max(0, self.newest_hour - RING_HOURS)]
        ).tolist():
            for kind, counts in self._kinds.items():
                numbers = counts.changed_since(version, hour % RING_HOURS)
                if len(numbers):
                    yield hour, kind, numbers, counts.devices[hour % RING_HOURS, numbers]

    def _write(self, counts: HourlyCounts, version: int) -> None:
        for hour in np.unique(counts.hours).tolist():
            if hour <= self.newest_hour - RING_HOURS:
                continue
            self._open_hour(hour)
            within = np.flatnonzero(counts.hours == hour)
            for kind, stored in self._kinds.items():
                chosen = within[counts.kinds[within] == kind]
                numbers, devices = counts.numbers[chosen], counts.devices[chosen]
                stored.put(hour % RING_HOURS, numbers, devices, version)

    def _open_hour(self, hour: int) -> None:
        row = hour % RING_HOURS
        if self._hours[row] != hour:
            for counts in self._kinds.values():
                counts.clear(row)
            self._hours[row] = hour
        self.newest_hour = max(self.newest_hour, hour)


def digest_counts(counts: HourlyCounts) -> int:
    """Return the sum of the hashes of distinct hourly counts: what `HourlyRing.digest` adds."""
    return sum(_digest_by_hour(counts).values()) % DIGEST_MODULUS


def _digest_by_hour(counts: HourlyCounts) -> dict[int, int]:
    """Return the sum of the hashes of the counts of each hour (an AdHash, as `digest_rows`)."""
    columns = (counts.hours, counts.kinds, counts.numbers, counts.devices)
    rows = np.column_stack(columns).astype("<u4").view("V16").reshape(-1)
    hashes = hash_rows(np.zeros(len(rows), np.int64), rows)
    hours, positions = np.unique(counts.hours, return_inverse=True)
    sums = np.zeros(len(hours), np.uint64)
    np.add.at(sums, positions, hashes)
    return dict(zip(hours.tolist(), sums.tolist(), strict=True))


class _KindCounts:
    """The counts of one kind of term and the version at which each was put; a row is an hour."""

    def __init__(self, limit: int) -> None:
        blocks = limit // BLOCK_NUMBERS + 1
        cells = RING_HOURS * blocks * BLOCK_NUMBERS
        self.devices: NDArray[np.uint32] = reserve(cells, np.dtype("<u4")).reshape(RING_HOURS, -1)
        # 64 bits, because 100 commits a second would exhaust 32 bits after 16 months.
        self._versions: NDArray[np.int64] = reserve(cells, np.dtype("<i8")).reshape(RING_HOURS, -1)
        self._newest_versions = np.zeros(RING_HOURS, np.int64)
        """The highest version in each row."""
        self._width = 0
        """All numbers put so far are below this; the memory above it stays untouched."""
        self._is_used = np.zeros((RING_HOURS, blocks), np.bool_)
        self.used_blocks = 0

    def has_block(self, row: int, number: int) -> bool:
        return bool(self._is_used[row, number // BLOCK_NUMBERS])

    def put(
        self, row: int, numbers: NDArray[np.uint32], devices: NDArray[np.uint32], version: int
    ) -> None:
        if len(numbers):
            self._width = max(self._width, int(numbers.max()) + 1)
            blocks = find_distinct(numbers // BLOCK_NUMBERS)
            self.used_blocks += int((~self._is_used[row, blocks]).sum())
            self._is_used[row, blocks] = True
            self.devices[row, numbers] = devices
            self._versions[row, numbers] = version
            self._newest_versions[row] = version

    def clear(self, row: int) -> None:
        release(self.devices[row])
        release(self._versions[row])
        self._newest_versions[row] = 0
        self.used_blocks -= int(self._is_used[row].sum())
        self._is_used[row] = False

    def changed_since(self, version: int, row: int) -> NDArray[np.int64]:
        """Return the numbers in a row whose count is not zero and was put after a version."""
        if self._newest_versions[row] <= version:
            return np.empty(0, np.int64)
        devices, versions = self.devices[row, : self._width], self._versions[row, : self._width]
        return np.flatnonzero((devices > 0) & (versions > version))
