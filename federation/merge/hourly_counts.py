"""HourlyCounts of one shard as a federation holds them: subjects by hour, over 168 hours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.federated.fixed_point import Integers

HOURS: Final = 168
_MAX_CHANGES: Final = 64
"""Pulls after which a federation above may go on from its own last one."""


@dataclass(frozen=True, slots=True, eq=False)
class HourlyCells:
    """Single counts: distinct devices for each (subject, hour), in any order."""

    subjects: Integers
    """Shape (m,): numbers of subjects."""
    hours: Integers
    """Shape (m,): hours since 1970."""
    devices: Integers
    """Shape (m,)."""

    def select_subjects(self, subjects: Integers) -> HourlyCells:
        """Return the cells of some subjects."""
        chosen = np.isin(self.subjects, subjects)
        return HourlyCells(self.subjects[chosen], self.hours[chosen], self.devices[chosen])


_NO_CELLS: Final = HourlyCells(*(np.empty(0, np.int64),) * 3)


@dataclass(frozen=True, slots=True, eq=False)
class HourlyWindow:
    """Counts of one shard. Never changed: a join makes a new one."""

    subjects: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    """Shape (n,): numbers, ascending and distinct."""
    counts: NDArray[np.uint32] = field(default_factory=lambda: np.zeros((0, HOURS), np.uint32))
    """Shape (n, HOURS), the newest hour last."""
    newest_hour: int = 0
    """The hour of the last column; 0 for none."""
    changes: tuple[tuple[int, HourlyCells], ...] = ()
    """The cells that the last joins brought, and at which version of the aggregate."""

    def join(self, cells: HourlyCells, version: int) -> HourlyWindow:
        """Return the larger count of each cell: within an epoch counts only grow."""
        if not len(cells.hours):
            return self
        newest = max(self.newest_hour, int(cells.hours.max()))
        subjects = np.union1d(self.subjects, cells.subjects)
        counts = np.zeros((len(subjects), HOURS), np.uint32)
        shift = min(newest - self.newest_hour, HOURS)
        if len(self.subjects):
            rows = np.searchsorted(subjects, self.subjects)
            counts[rows, : HOURS - shift] = self.counts[:, shift:]
        columns = cells.hours - newest + HOURS - 1
        inside = columns >= 0
        rows = np.searchsorted(subjects, cells.subjects[inside])
        np.maximum.at(counts, (rows, columns[inside]), cells.devices[inside].astype(np.uint32))
        seen = counts.any(axis=1)
        change = (
            version,
            cells if self.newest_hour else _NO_CELLS,
        )  # before the first nobody held any
        changes = (*self.changes, change)[-_MAX_CHANGES:]
        return HourlyWindow(subjects[seen], counts[seen], newest, changes)

    def to_cells(self) -> HourlyCells:
        """Return every count that is not zero."""
        rows, columns = np.nonzero(self.counts)
        hours = columns + self.newest_hour - HOURS + 1
        return HourlyCells(self.subjects[rows], hours, self.counts[rows, columns].astype(np.int64))

    def select_changes(self, version: int) -> HourlyCells | None:
        """Return the counts that joins after a version brought; None when that is not known."""
        if version not in (at for at, _ in self.changes):
            return None
        later = [cells for at, cells in self.changes if at > version]
        later = [each.select_subjects(self.subjects) for each in later]
        empty = np.empty(0, np.int64)
        subjects = np.concatenate([empty, *(cells.subjects for cells in later)])
        hours = np.concatenate([empty, *(cells.hours for cells in later)])
        distinct = np.unique(np.stack([subjects, hours]), axis=1)
        columns = distinct[1] - self.newest_hour + HOURS - 1
        rows = np.searchsorted(self.subjects, distinct[0])
        inside = columns >= 0
        counts = self.counts[rows[inside], columns[inside]].astype(np.int64)
        return HourlyCells(distinct[0][inside], distinct[1][inside], counts)

    def align_to(self, newest_hour: int) -> NDArray[np.float64]:
        """Return counts, shape (HOURS, n), with this hour in the last row."""
        counts = np.zeros((HOURS, len(self.subjects)))
        shift = newest_hour - self.newest_hour
        if self.newest_hour and abs(shift) < HOURS:
            source = self.counts[:, max(shift, 0) : HOURS + min(shift, 0)]
            counts[max(-shift, 0) : HOURS - max(shift, 0)] = source.T
        return counts
