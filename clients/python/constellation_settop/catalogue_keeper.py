"""The catalogue of a device that gets it from its shard, kept current in the background."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from constellation_settop.errors import CredentialError, StorageError, UnreachableError
from constellation_settop.network.backoff import Backoff
from constellation_settop.network.catalogue_copy import fetch_catalogue
from constellation_settop.recommending.catalogue_items import compute_digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from constellation_settop.network.settings import SyncSettings
    from constellation_settop.network.sync import Sync
    from constellation_settop.recommending.household import Household

log = logging.getLogger("constellation_settop")


class CatalogueKeeper:
    """Fetches what changed in the shard's catalogue whenever a Welcome says that it did."""

    def __init__(self, path: Path, household: Household, settings: SyncSettings) -> None:
        """Prepare without fetching anything.

        Args:
            path: the file of the copy.
            household: gets each new catalogue.
            settings: the credential, TLS and back-off.
        """
        self._path = path
        self._household = household
        self._settings = settings
        self._welcomed = asyncio.Event()
        self._is_welcomed = False
        self._progress_event = asyncio.Event()
        self.updates = 0
        """Catalogues that were fetched since the device was opened."""
        self.problem: str | None = None
        """Why the last fetch failed; None after one that succeeded, and before the first."""

    def notice_welcome(self) -> None:
        """Compare the catalogue's digest with the one of the newest Welcome, soon."""
        self._is_welcomed = True
        self._welcomed.set()

    async def wait_for_content(self, deadline_seconds: float) -> None:
        """Wait until there is a catalogue that is not empty, of any age.

        Raises UnreachableError when that takes longer than `deadline_seconds`.
        """
        await self._wait_until(lambda: len(self._household.catalogue) > 0, deadline_seconds)

    async def wait_for_update(self, deadline_seconds: float, *, after: int = 0) -> None:
        """Wait until more than `after` catalogues were fetched since the device was opened.

        Raises the same error as `wait_for_content`.
        """
        await self._wait_until(lambda: self.updates > after, deadline_seconds)

    async def _wait_until(self, condition: Callable[[], bool], deadline_seconds: float) -> None:
        try:
            async with asyncio.timeout(deadline_seconds):
                while not condition():
                    self._progress_event.clear()
                    await self._progress_event.wait()
        except TimeoutError as error:
            why = self.problem or self._explain_wait()
            raise UnreachableError(f"no catalogue within {deadline_seconds:g} s: {why}") from error

    def _explain_wait(self) -> str:
        if not self._is_welcomed:
            return "no shard has accepted the device yet"
        return "the shard's catalogue is empty: give it films with `constellation content add`"

    @asynccontextmanager
    async def run(self, sync: Sync) -> AsyncIterator[None]:
        """Keep the catalogue current while the block runs."""
        task = asyncio.create_task(self._run(sync), name="settop_catalogue")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _run(self, sync: Sync) -> None:
        settings = self._settings
        backoff = Backoff(
            settings.backoff_base_seconds, settings.backoff_cap_seconds, settings.random
        )
        while True:
            await self._welcomed.wait()
            self._welcomed.clear()
            while sync.catalogue_digest not in {0, compute_digest(self._household.catalogue)}:
                delay = await self._try_fetch(sync.address)
                if delay is None:
                    backoff.reset()
                    break  # the next Welcome tells whether the catalogue has changed meanwhile
                await asyncio.sleep(delay + backoff.next_seconds())  # many got the same delay

    async def _try_fetch(self, address: str) -> float | None:
        """Fetch the catalogue; return None, or how long to wait at least after a failure."""
        try:
            catalogue = await fetch_catalogue(address, self._path, self._settings)
        except (UnreachableError, CredentialError, StorageError) as error:
            if self.problem is None:
                log.warning("the catalogue stays as it is: %s", error)
            self.problem = str(error)
            delay = error.delay_seconds if isinstance(error, UnreachableError) else None
            return delay or 0.0
        self.problem = None
        self._household.use_catalogue(catalogue)
        self.updates += 1
        self._progress_event.set()
        return None
