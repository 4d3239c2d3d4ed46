"""Device: Brain, Outbox and Sync together, for a set-top box's program."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from constellation_settop.errors import StorageError
from constellation_settop.network.settings import SyncSettings
from constellation_settop.network.sync import Sync
from constellation_settop.recommending.brain import Brain
from constellation_settop.recommending.learning import LearningSettings
from constellation_settop.recommending.ranking import RankingWeights, Recommendation
from constellation_settop.storage.database import Durability
from constellation_settop.storage.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from constellation_settop.recommending.catalogue import Catalogue
    from constellation_settop.values import Context, View

log = logging.getLogger("constellation_settop")

FILE_NAME: Final = "device.sqlite"


@dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """What a host may choose; the defaults suit one set-top box."""

    device_id: bytes | None = None
    """16 bytes: the box's UUID; None makes one, once."""
    delta_interval_seconds: float = 60.0
    """What is learned becomes durable, and a delta, at most this often."""
    durability: Durability = Durability.POWER_FAILURE
    keep_journal: bool = False
    """Keep every acked delta, for verification; the journal is not bounded."""
    sync: SyncSettings = field(default_factory=SyncSettings)
    learning: LearningSettings = field(default_factory=LearningSettings)
    weights: RankingWeights = field(default_factory=RankingWeights)


class Device:
    """A set-top box: learns, shares, recommends. `observe` and `recommend` never wait."""

    def __init__(self, brain: Brain, outbox: Outbox, sync: Sync, settings: DeviceSettings) -> None:
        self.brain = brain
        self.outbox = outbox
        self.sync = sync
        self._settings = settings
        self._changes_event = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        address: str,
        *,
        data_dir: Path | str,
        catalogue: Catalogue,
        settings: DeviceSettings | None = None,
    ) -> AsyncIterator[Device]:
        """Go on from what `data_dir` holds, and sync in the background until the block is left.

        Raises StorageError when another process has the directory open.
        """
        resolved = settings or DeviceSettings()
        Path(data_dir).mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # a moment, at start
        with Outbox.open(
            Path(data_dir) / FILE_NAME,
            resolved.device_id,
            durability=resolved.durability,
            keep_journal=resolved.keep_journal,
        ) as outbox:
            brain = Brain(
                catalogue,
                outbox.read_learned(),
                outbox.read_watched(),
                settings=resolved.learning,
                weights=resolved.weights,
            )
            async with Sync.open(address, outbox, resolved.sync) as sync:
                device = cls(brain, outbox, sync, resolved)
                async with device._save_in_background():
                    yield device

    @asynccontextmanager
    async def _save_in_background(self) -> AsyncIterator[None]:
        """Cut deltas in the background, and a last one in the end."""
        self.sync.on_global = self._use_global_state
        self._use_global_state()
        task = asyncio.create_task(self._save_forever(), name="settop_cutter")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            self._try_save_changes()
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def _use_global_state(self) -> None:
        self.brain.use_global_state(lambda: self.outbox.global_state)

    def observe(self, view: View) -> float:
        """Learn from a view, and return its reward from 0 to 1. The view stays on the device."""
        reward = self.brain.observe(view)
        self._changes_event.set()
        return reward

    def recommend(self, context: Context | None = None, limit: int = 20) -> list[Recommendation]:
        """Return up to `limit` contents not watched yet, best first; works offline."""
        return self.brain.recommend(context, limit)

    def save_changes(self) -> Sequence[int]:
        """Make what was learned durable now, and return the seqs of its deltas, often just one.

        Raises StorageError; then nothing is forgotten, and the next call tries again.
        """
        changes = self.brain.take_changes()
        if not changes:
            return ()
        try:
            seqs = self.outbox.append(changes)
        except StorageError:
            self.brain.restore_changes(changes)
            raise
        self.sync.notify()
        return seqs

    def sync_soon(self) -> None:
        """Send what was learned now instead of at the next interval."""
        self._try_save_changes()
        self.sync.sync_soon()

    async def flush(self, deadline_seconds: float) -> None:
        """Return when the shard has all that was learned so far.

        Raises UnreachableError, CredentialError or StorageError.
        """
        self.save_changes()
        await self.sync.flush(deadline_seconds)

    async def _save_forever(self) -> None:
        """Cut what was learned, spread at random so that a fleet does not beat in step."""
        interval = self._settings.delta_interval_seconds
        while True:
            await self._changes_event.wait()
            await asyncio.sleep(interval * random.uniform(0.5, 1))  # noqa: S311  # no secret
            self._changes_event.clear()
            self._try_save_changes()

    def _try_save_changes(self) -> None:
        try:
            self.save_changes()
        except StorageError as error:
            log.warning("what was learned stays in memory: %s", error)
            self._changes_event.set()
