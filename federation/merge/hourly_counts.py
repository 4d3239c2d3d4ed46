"""Hourly device counts of one shard as a federation keeps them: 168 hours for each subject."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.federated.trends import WINDOW_HOURS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.federated.fixed_point import Integers

SECONDS_PER_HOUR: Final = 3600
_MAX_CHANGES: Final = 64
"""Joins whose cells are kept, so that a federation above can pull only what changed since then."""


@dataclass(frozen=True, slots=True, eq=False)
class HourlyCells:
    """Single counts: the number of distinct devices for each (subject, hour), in any order."""

    subjects: Integers
    """Shape (m,): subject numbers."""
    hours: Integers
    """Shape (m,): hours since 1970."""
    devices: Integers
    """Shape (m,): distinct devices."""

    def select_subjects(self, subjects: Integers) -> HourlyCells:
        """Return only the cells of the given subjects."""
        chosen = np.isin(self.subjects, subjects)
        return HourlyCells(self.subjects[chosen], self.hours[chosen], self.devices[chosen])


_NO_CELLS: Final = HourlyCells(*(np.empty(0, np.int64),) * 3)


@dataclass(frozen=True, slots=True, eq=False)
class HourlyWindow:
    """The counts of one shard in its last WINDOW_HOURS hours. Immutable: a join returns a new one.

    A subject is the number of a content item, or a genre as `encode_genres` encodes it.
    """

    subjects: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    """Shape (n,): subject numbers, ascending and distinct."""
    counts: NDArray[np.uint32] = field(
        default_factory=lambda: np.zeros((0, WINDOW_HOURS), np.uint32)
    )
    """Shape (n, WINDOW_HOURS): distinct devices; the last column is the newest hour."""
    newest_hour: int = 0
    """The hour of the last column, in hours since 1970; 0 when nothing was counted."""
    changes: tuple[tuple[int, HourlyCells], ...] = ()
    """For each of the last joins: the version of the aggregate it led to, and its cells."""

    def join(self, cells: HourlyCells, version: int) -> HourlyWindow:
        """Return the window with the larger count for each cell.

        Within an epoch a count only grows, so the larger count is the newer one. `version` is the
        version of the aggregate that brought the cells.
        """
        if not len(cells.hours):
            if version in (at for at, _ in self.changes):
                return self
            return replace(self, changes=self._add_change(version, _NO_CELLS))
        newest = max(self.newest_hour, int(cells.hours.max()))
        subjects = np.union1d(self.subjects, cells.subjects)
        counts = np.zeros((len(subjects), WINDOW_HOURS), np.uint32)
        shift = min(newest - self.newest_hour, WINDOW_HOURS)
        if len(self.subjects):
            rows = np.searchsorted(subjects, self.subjects)
            counts[rows, : WINDOW_HOURS - shift] = self.counts[:, shift:]
        columns = cells.hours - newest + WINDOW_HOURS - 1
        inside = columns >= 0
        rows = np.searchsorted(subjects, cells.subjects[inside])
        np.maximum.at(counts, (rows, columns[inside]), cells.devices[inside].astype(np.uint32))
        counted = counts.any(axis=1)
        # Nobody can hold a version from before the first join, so nobody will ask for its cells.
        changes = self._add_change(version, cells if self.changes else _NO_CELLS)
        return HourlyWindow(subjects[counted], counts[counted], newest, changes)

    def _add_change(self, version: int, cells: HourlyCells) -> tuple[tuple[int, HourlyCells], ...]:
        return (*self.changes, (version, cells))[-_MAX_CHANGES:]

    def to_cells(self) -> HourlyCells:
        """Return every count that is not zero."""
        rows, columns = np.nonzero(self.counts)
        hours = columns + self.newest_hour - WINDOW_HOURS + 1
        return HourlyCells(self.subjects[rows], hours, self.counts[rows, columns].astype(np.int64))

    def select_changes(self, version: int) -> HourlyCells | None:
        """Return the current counts of all cells that changed after a version of the aggregate.

        Returns None if the changes since that version are no longer known.
        """
        if version not in (at for at, _ in self.changes):
            return None
        later = [cells for at, cells in self.changes if at > version]
        later = [each.select_subjects(self.subjects) for each in later]
        empty = np.empty(0, np.int64)
        subjects = np.concatenate([empty, *(cells.subjects for cells in later)])
        hours = np.concatenate([empty, *(cells.hours for cells in later)])
        distinct = np.unique(np.stack([subjects, hours]), axis=1)
        columns = distinct[1] - self.newest_hour + WINDOW_HOURS - 1
        rows = np.searchsorted(self.subjects, distinct[0])
        inside = columns >= 0
        counts = self.counts[rows[inside], columns[inside]].astype(np.int64)
        return HourlyCells(distinct[0][inside], distinct[1][inside], counts)

    def align_to(self, newest_hour: int) -> NDArray[np.float64]:
        """Return the counts, shape (WINDOW_HOURS, n), with `newest_hour` in the last row."""
        counts = np.zeros((WINDOW_HOURS, len(self.subjects)))
        shift = newest_hour - self.newest_hour
        if self.newest_hour and abs(shift) < WINDOW_HOURS:
            source = self.counts[:, max(shift, 0) : WINDOW_HOURS + min(shift, 0)]
            counts[max(-shift, 0) : WINDOW_HOURS - max(shift, 0)] = source.T
        return counts
