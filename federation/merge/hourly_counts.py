"""HourlyCounts of one shard as a federation holds them: subjects by hour, over 168 hours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.federated.fixed_point import Integers

HOURS: Final = 168
_KEPT_CHANGES: Final = 64
"""Pulls after which a federation above may go on from its own last one."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Single counts: distinct devices for each (subject, hour), in any order."""

    subjects: Integers
    """Shape (m,): numbers of subjects."""
    hours: Integers
    """Shape (m,): hours since 1970."""
    devices: Integers
    """Shape (m,)."""

    def among(self, subjects: Integers) -> Cells:
        """Return the cells of some subjects."""
        chosen = np.isin(self.subjects, subjects)
        return Cells(self.subjects[chosen], self.hours[chosen], self.devices[chosen])


_NOTHING: Final = Cells(*(np.empty(0, np.int64),) * 3)


@dataclass(frozen=True, slots=True, eq=False)
class Hours:
    """Counts of one shard. Never changed: a join makes a new one."""

    subjects: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    """Shape (n,): numbers, ascending and distinct."""
    counts: NDArray[np.uint32] = field(default_factory=lambda: np.zeros((0, HOURS), np.uint32))
    """Shape (n, HOURS), the newest hour last."""
    newest: int = 0
    """The hour of the last column; 0 for none."""
    changes: tuple[tuple[int, Cells], ...] = ()
    """The cells that the last joins brought, and at which version of the aggregate."""

    def joined(self, cells: Cells, version: int) -> Hours:
        """Return the larger count of each cell: within an epoch counts only grow."""
        if not len(cells.hours):
            return self
        newest = max(self.newest, int(cells.hours.max()))
        subjects = np.union1d(self.subjects, cells.subjects)
        counts = np.zeros((len(subjects), HOURS), np.uint32)
        shift = min(newest - self.newest, HOURS)
        if len(self.subjects):
            rows = np.searchsorted(subjects, self.subjects)
            counts[rows, : HOURS - shift] = self.counts[:, shift:]
        columns = cells.hours - newest + HOURS - 1
        inside = columns >= 0
        rows = np.searchsorted(subjects, cells.subjects[inside])
        np.maximum.at(counts, (rows, columns[inside]), cells.devices[inside].astype(np.uint32))
        seen = counts.any(axis=1)
        change = (version, cells if self.newest else _NOTHING)  # before the first nobody held any
        changes = (*self.changes, change)[-_KEPT_CHANGES:]
        return Hours(subjects[seen], counts[seen], newest, changes)

    def cells(self) -> Cells:
        """Return every count that is not zero."""
        rows, columns = np.nonzero(self.counts)
        hours = columns + self.newest - HOURS + 1
        return Cells(self.subjects[rows], hours, self.counts[rows, columns].astype(np.int64))

    def changed_since(self, version: int) -> Cells | None:
        """Return the counts that joins after a version brought; None when that is not known."""
        if version not in (at for at, _ in self.changes):
            return None
        later = [cells for at, cells in self.changes if at > version]
        later = [each.among(self.subjects) for each in later]
        empty = np.empty(0, np.int64)
        subjects = np.concatenate([empty, *(cells.subjects for cells in later)])
        hours = np.concatenate([empty, *(cells.hours for cells in later)])
        distinct = np.unique(np.stack([subjects, hours]), axis=1)
        columns = distinct[1] - self.newest + HOURS - 1
        rows = np.searchsorted(self.subjects, distinct[0])
        inside = columns >= 0
        counts = self.counts[rows[inside], columns[inside]].astype(np.int64)
        return Cells(distinct[0][inside], distinct[1][inside], counts)

    def window(self, newest: int) -> NDArray[np.float64]:
        """Return counts, shape (HOURS, n), with this hour in the last row."""
        counts = np.zeros((HOURS, len(self.subjects)))
        shift = newest - self.newest
        if self.newest and abs(shift) < HOURS:
            source = self.counts[:, max(shift, 0) : HOURS + min(shift, 0)]
            counts[max(-shift, 0) : HOURS - max(shift, 0)] = source.T
        return counts
