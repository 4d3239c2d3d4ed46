"""History: what a household thought of the content items that it watched, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from constellation_settop.values import HistoryEntry

MAX_HISTORY: Final = 2_000
"""Entries that a device keeps: the newest ones."""


class History:
    """At most MAX_HISTORY entries, one for each content item, in the order of the latest views.

    The order is that in which views were observed, so that a clock that jumps does not matter.
    """

    def __init__(self, entries: Sequence[HistoryEntry] = ()) -> None:
        """Begin with entries that are saved already, the oldest first."""
        self._entries = {each.content_id: each for each in entries[-MAX_HISTORY:]}
        self._unsaved: dict[str, HistoryEntry] = {}
        self._withdrawn: dict[str, None] = {}
        self.revision = 0
        """Grows with every change of the entries."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> list[HistoryEntry]:
        """Every entry, the oldest first."""
        return list(self._entries.values())

    def find(self, content_id: str) -> HistoryEntry | None:
        """Return the entry of a content item, or None when there is none."""
        return self._entries.get(content_id)

    def likes(self, content_id: str) -> bool:
        """Return whether the newest entry of a content item says that it was liked."""
        entry = self._entries.get(content_id)
        return entry is not None and entry.opinion > 0

    def record(self, entry: HistoryEntry) -> None:
        """Add the newest entry; it replaces an earlier one of the same content item.

        A content item that was liked and is not any more is withdrawn.
        """
        self.revision += 1
        before = self._entries.pop(entry.content_id, None)
        if entry.opinion > 0:
            self._withdrawn.pop(entry.content_id, None)
        elif before is not None and before.opinion > 0:
            self._withdrawn[entry.content_id] = None
        self._entries[entry.content_id] = entry
        self._unsaved.pop(entry.content_id, None)
        self._unsaved[entry.content_id] = entry
        if len(self._entries) > MAX_HISTORY:
            oldest = next(iter(self._entries))
            del self._entries[oldest]
            self._unsaved.pop(oldest, None)

    def remove(self, content_ids: Iterable[str]) -> None:
        """Forget some content items, as if they had never been watched."""
        self.revision += 1
        for content_id in content_ids:
            for each in (self._entries, self._unsaved, self._withdrawn):
                each.pop(content_id, None)

    def take_changes(self) -> tuple[list[HistoryEntry], list[str]]:
        """Return the entries added, and the content items withdrawn, since the last call."""
        unsaved, withdrawn = self._unsaved, self._withdrawn
        self._unsaved, self._withdrawn = {}, {}
        return list(unsaved.values()), list(withdrawn)

    def restore_changes(self, unsaved: Sequence[HistoryEntry], withdrawn: Sequence[str]) -> None:
        """Take back changes that could not be saved; the next `take_changes` returns them again."""
        newer = self._unsaved
        older = {each.content_id: each for each in unsaved if each.content_id not in newer}
        self._unsaved = older | newer
        self._withdrawn = dict.fromkeys(withdrawn) | self._withdrawn
