"""LikedChanges: what the deltas of one commit make of the liked content of their devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import LIKED, MAX_LIKED, LikedRows, Slots
from constellation.core.store import no_slots

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from numpy.typing import NDArray

    from constellation.core.table.liked import LikedTable

_MAX_ADDED: Final = 8
"""A device that adds more in one commit is handled alone."""
_COLUMNS: Final = np.arange(1, MAX_LIKED)


@dataclass(frozen=True, slots=True, eq=False)
class LikedWrites:
    """The devices whose liked content one commit writes or deletes, by row number."""

    devices: Slots = field(default_factory=no_slots)
    rows: LikedRows = field(default_factory=lambda: np.empty(0, LIKED))
    """The new liked content of each of `devices`, at least one content item."""
    freed: Slots = field(default_factory=no_slots)
    """The devices that have liked content before, and none after."""


class LikedChanges:
    """The changes of one commit, in the order of its deltas.

    Devices are named by their positions in the group, content items by their numbers. A content
    item that is added again becomes the latest; the oldest beyond MAX_LIKED are forgotten.
    """

    def __init__(self, liked: LikedTable, devices: Slots) -> None:
        """Begin with what is stored for devices; row number -1 is a device that is not known."""
        self._liked = liked
        self._devices = devices
        self._added: dict[int, list[int]] = {}
        """The content items that devices add to what is stored, the latest last."""
        self._rewritten: dict[int, dict[int, None]] = {}
        """All content items of the other devices with a change, the latest last."""

    def list_contents(self, position: int) -> Collection[int]:
        """Return what a device likes after the changes so far."""
        return self._rewrite(position)

    def replace(self, position: int, contents: Iterable[int]) -> None:
        """Replace what a device liked by content items, the latest last."""
        self._added.pop(position, None)
        self._rewritten[position] = {}
        for content in contents:
            self.add(position, content)

    def withdraw(self, position: int, contents: Iterable[int]) -> None:
        """Remove content items from what a device liked; those that it did not like do nothing."""
        rewritten = self._rewrite(position)
        for content in contents:
            rewritten.pop(content, None)

    def add(self, position: int, content: int) -> None:
        """Make a content item the latest that a device liked."""
        if (rewritten := self._rewritten.get(position)) is not None:
            _push(rewritten, content)
            return
        added = self._added.setdefault(position, [])
        added.append(content)
        if len(added) > _MAX_ADDED:
            self._rewrite(position)

    def to_writes(self, positions: Sequence[int], slots: Slots) -> LikedWrites:
        """Return what changes, for devices at some positions of the group and their row numbers."""
        if not self._added and not self._rewritten:
            return LikedWrites()
        slot_by_position = dict(zip(positions, slots.tolist(), strict=True))
        chosen = [*self._added, *self._rewritten]
        devices = np.array([slot_by_position[position] for position in chosen], np.int64)
        before = self._liked.read(self._devices[chosen])
        after = before.copy()
        contents = after["contents"]
        _push_columns(contents[: len(self._added)], list(self._added.values()))
        for row, rewritten in enumerate(self._rewritten.values(), len(self._added)):
            contents[row] = 0
            contents[row, : len(rewritten)] = list(rewritten)[::-1]
        has_changed = (contents != before["contents"]).any(axis=1)
        is_empty = contents[:, 0] == 0
        kept = has_changed & ~is_empty
        return LikedWrites(devices[kept], after[kept], devices[has_changed & is_empty])

    def _rewrite(self, position: int) -> dict[int, None]:
        """Return the content items that a device likes now, to be changed."""
        rewritten = self._rewritten.get(position)
        if rewritten is None:
            row = self._liked.read(self._devices[[position]])["contents"][0]
            rewritten = dict.fromkeys(row[row > 0][::-1].tolist())
            for content in self._added.pop(position, ()):
                _push(rewritten, content)
            self._rewritten[position] = rewritten
        return rewritten


def _push(contents: dict[int, None], content: int) -> None:
    contents.pop(content, None)
    contents[content] = None
    if len(contents) > MAX_LIKED:
        del contents[next(iter(contents))]


def _push_columns(contents: NDArray[np.uint32], added: Sequence[Sequence[int]]) -> None:
    """Put what devices add before their content items, in place. `contents` has a row for each."""
    for turn in range(max(map(len, added), default=0)):
        chosen = [row for row, each in enumerate(added) if len(each) > turn]
        rows = contents[chosen]
        new = np.array([added[row][turn] for row in chosen], np.uint32)
        is_known = rows == new[:, None]
        gaps = np.where(is_known.any(axis=1), is_known.argmax(axis=1), MAX_LIKED - 1)
        rows[:, 1:] = np.where(gaps[:, None] >= _COLUMNS, rows[:, :-1], rows[:, 1:])
        rows[:, 0] = new
        contents[chosen] = rows
