"""Saver: what a device learns becomes durable at once, and a delta at intervals."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from constellation_settop.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from constellation_settop.recommending.household import Household
    from constellation_settop.storage.outbox import Outbox
    from constellation_settop.storage.views import UnsavedView

MAX_UNSAVED_VIEWS: Final = 1000
"""Views that wait in memory for a disk that refuses them; what they taught waits beside them."""


class Saver:
    """Writes the views of a device, and later what they taught, to its file."""

    def __init__(
        self,
        household: Household,
        outbox: Outbox,
        interval_seconds: float,
        on_saved: Callable[[], None],
    ) -> None:
        """Prepare without writing anything.

        Args:
            household: what learns.
            outbox: the device's file.
            interval_seconds: what was learned becomes a delta at most this often.
            on_saved: called when there are new deltas; it must return at once.
        """
        self._household = household
        self._outbox = outbox
        self._interval_seconds = interval_seconds
        self._on_saved = on_saved
        self._views: list[UnsavedView] = []
        """Views that are in memory only."""
        self._has_kept = False
        self._views_event = asyncio.Event()
        self._changes_event = asyncio.Event()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Save in the background while the block runs, and once when it ends."""
        if self._outbox.read_views():  # a power failure left them unsaved
            self._has_kept = True
            self._changes_event.set()
        tasks = [
            asyncio.create_task(self._save_forever(), name="settop_save"),
            asyncio.create_task(self._keep_forever(), name="settop_keep_views"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self.try_save()
            for task in tasks:
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error

    def note(self, view: UnsavedView) -> None:
        """Make a view durable soon, and what it taught a delta at the next interval."""
        self._views.append(view)
        del self._views[:-MAX_UNSAVED_VIEWS]
        self._views_event.set()
        self._changes_event.set()

    def drop(self, profile: str | None = None) -> None:
        """Give up the views of a profile, or of all, because they are forgotten or saved."""
        self._views = [each for each in self._views if profile not in {None, each.profile}]

    def save(self) -> Sequence[int]:
        """Write what was learned now, and return the seqs of its deltas.

        Raises StorageError when the disk refuses; then nothing is lost.
        """
        changes = self._household.take_changes()
        if not changes:
            if self._has_kept:
                self._outbox.drop_views()  # they taught nothing
            self._views, self._has_kept = [], False
            return ()
        try:
            seqs = self._outbox.append(*changes)
        except StorageError:
            self._household.restore_changes(changes)
            raise
        self._views, self._has_kept = [], False
        self._on_saved()
        return seqs

    def try_save(self) -> None:
        """Save, or try again at the next interval when the disk refuses."""
        try:
            self.save()
        except StorageError:  # the outbox has logged it, once
            self._changes_event.set()

    async def _save_forever(self) -> None:
        """Save after each interval, shortened at random so that devices do not act in step."""
        while True:
            await self._changes_event.wait()
            await asyncio.sleep(self._interval_seconds * random.uniform(0.5, 1))  # noqa: S311  # no secret
            self._changes_event.clear()
            self.try_save()

    async def _keep_forever(self) -> None:
        """Make views durable as soon as they are observed; those of one moment at once."""
        while True:
            await self._views_event.wait()
            self._views_event.clear()
            views = list(self._views)
            try:
                self._outbox.keep_views(views)
            except StorageError:  # the outbox has logged it, once; the interval tries to save all
                continue
            del self._views[: len(views)]
            self._has_kept = True
