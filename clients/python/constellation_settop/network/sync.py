"""Sync: keeps a device's outbox and its shard in step, in the background."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import grpc

from constellation_settop.errors import CredentialError, StorageError, UnreachableError
from constellation_settop.network.backoff import Backoff
from constellation_settop.network.channel import Failure, connect, failure_of, open_channel
from constellation_settop.network.fallback import Fallback
from constellation_settop.network.outcome import Hooks, Parting
from constellation_settop.network.route import Route
from constellation_settop.network.session import Session
from constellation_settop.network.settings import SyncSettings
from constellation_settop.network.transports import pull, run_stream, run_unary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from constellation_settop.storage.outbox import Outbox

log = logging.getLogger("constellation_settop")

DEFAULT_INTERVAL_SECONDS: Final = 600.0


class Sync:
    """One device's background task. Nothing it meets on the network is raised but by waiting."""

    def __init__(self, address: str, outbox: Outbox, settings: SyncSettings) -> None:
        self.outbox = outbox
        self._route = Route(address, outbox.device_id, settings)
        self._settings = settings
        self._backoff = Backoff(
            settings.backoff_base_seconds, settings.backoff_cap_seconds, settings.random
        )
        self._wake = asyncio.Event()
        self._soon = asyncio.Event()
        self._progress = asyncio.Event()
        self._closing = False
        self._session: Session | None = None
        self._fallback = Fallback()
        self.last_ack_latency: float | None = None
        """Seconds from the newest acked delta's frame to its ack."""
        self.updates_applied = 0
        """Global updates since this was opened."""
        self.cycles = 0
        """Sessions that ended in order since this was opened."""
        self.problem: str | None = None
        """Why there is no connection; None while there is, or before the first attempt."""
        self.refused = False
        """The shard does not accept the credential."""
        self.on_global: Callable[[], None] = lambda: None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, address: str, outbox: Outbox, settings: SyncSettings | None = None
    ) -> AsyncIterator[Sync]:
        """Sync in the background until the block is left."""
        sync = cls(address, outbox, settings or SyncSettings())
        # No task group: the caller's own exceptions would arrive wrapped.
        task = asyncio.create_task(sync._run(), name="settop_sync")
        try:
            yield sync
        finally:
            await sync._close(task)

    @property
    def connected(self) -> bool:
        """A session is open and welcomed."""
        session = self._session
        return session is not None and session.welcome is not None and session.over is None

    def notify(self) -> None:
        """Say that the outbox holds something new: a connected device sends it now."""
        self._wake.set()

    def sync_soon(self) -> None:
        """Sync now instead of at the next interval. Does not shorten a back-off."""
        self._soon.set()
        self._wake.set()

    async def flush(self, deadline_seconds: float) -> None:
        """Return when nothing waits for an ack; raise UnreachableError or CredentialError."""
        self.sync_soon()
        await self._until(lambda: not self.outbox.pending, deadline_seconds)

    async def refreshed(self, deadline_seconds: float, *, after: int = 0) -> None:
        """Return when more than `after` global updates were applied since this was opened."""
        await self._until(lambda: self.updates_applied > after, deadline_seconds)

    async def synced_once(self, deadline_seconds: float) -> None:
        """Return when one whole session has ended in order since this call."""
        before = self.cycles
        self.sync_soon()
        await self._until(lambda: self.cycles > before, deadline_seconds)

    async def _until(self, reached: Callable[[], bool], deadline_seconds: float) -> None:
        try:
            async with asyncio.timeout(deadline_seconds):
                while not reached():
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError as error:
            kind = CredentialError if self.refused else UnreachableError
            why = self.problem or "the shard has not answered yet"
            raise kind(f"not done within {deadline_seconds:g} s: {why}") from error

    async def _close(self, task: asyncio.Task[None]) -> None:
        self._closing = True
        leave_seconds = self._settings.leave_seconds
        if self._session is not None:
            self._session.leave(_now(), leave_seconds)
        self.sync_soon()
        await asyncio.wait({task}, timeout=leave_seconds if self.connected else 0)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    async def _run(self) -> None:
        while not self._closing:
            self._soon.clear()
            parting = await self._attempt()
            self._progress.set()
            if self._closing:
                return
            if parting.delay_seconds is None:
                delay = self._backoff.next_seconds()
                log.info("not in sync (%s); again in %.1f s", parting.why, delay)
                self.problem = parting.why
                await self._pause(delay, interruptible=False)
            else:
                await self._pause(parting.delay_seconds, interruptible=parting.in_step)

    async def _pause(self, seconds: float, *, interruptible: bool) -> None:
        if not interruptible:
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._soon.wait()
        except TimeoutError:
            pass

    async def _attempt(self) -> Parting:
        """Hold one session on a channel of its own, and return how it ended."""
        channel = open_channel(self._route.address, self._settings.tls)
        unary = self._fallback.unary(_now())
        stays = self._settings.stay_connected and not unary
        session = Session(
            self.outbox, self._settings.random, self._hooks(), leave_when_done=not stays
        )
        self._session = session
        try:
            await connect(channel)
            await self._carry(channel, session, unary=unary)
            if session.done and not stays:
                await pull(channel, session, self.outbox, self._route.metadata())
        except UnreachableError as error:
            return self._route.missed(str(error))
        except StorageError as error:
            log.warning("%s", error)
            return Parting(str(error))
        except grpc.aio.AioRpcError as error:
            return self._failed(failure_of(error), session, unary=unary)
        finally:
            self._session = None
            await channel.close()
        return self._ended(session, stays=stays)

    async def _carry(self, channel: grpc.aio.Channel, session: Session, *, unary: bool) -> None:
        await self._route.learn(channel)
        if unary:
            await run_unary(channel, session, self._route.metadata())
        else:
            await run_stream(channel, session, self._route.metadata(), self._wake)

    def _hooks(self) -> Hooks:
        return Hooks(self._on_ack, self._on_global, self._on_welcome)

    def _on_ack(self, seq: int, seconds: float) -> None:
        self.last_ack_latency = seconds
        if self._settings.on_ack is not None:
            self._settings.on_ack(seq, seconds)
        self._progress.set()

    def _on_global(self) -> None:
        self.updates_applied += 1
        self.on_global()
        self._progress.set()

    def _on_welcome(self) -> None:
        self._backoff.reset()
        self._route.arrived()
        self._fallback.welcomed()
        self.problem = None
        self.refused = False
        self._progress.set()

    def _failed(self, failure: Failure, session: Session, *, unary: bool) -> Parting:
        self.refused = failure.refused
        if failure.address is not None:
            return self._route.moved(
                Parting(failure.why, failure.delay_seconds or 0.0, failure.address)
            )
        if session.welcome is None and not unary and failure.delay_seconds is None:
            self._fallback.stream_died(_now())
        if failure.delay_seconds is None:
            return Parting(failure.why)
        jitter = self._backoff.next_seconds()  # many devices were told the same
        return Parting(failure.why, failure.delay_seconds + jitter)

    def _ended(self, session: Session, *, stays: bool) -> Parting:
        parting = session.parting()
        if parting.address is not None:
            return self._route.moved(parting)
        if session.welcome is None:
            self._fallback.stream_died(_now())
            return parting
        if stays or not session.done:
            return parting
        self.cycles += 1
        interval = self._interval_seconds(session)
        return replace(parting, delay_seconds=interval, in_step=True)

    def _interval_seconds(self, session: Session) -> float:
        welcome = session.welcome
        assert welcome is not None
        interval = welcome.sync_interval.ToTimedelta().total_seconds() or DEFAULT_INTERVAL_SECONDS
        jitter = welcome.sync_jitter.ToTimedelta().total_seconds()
        return max(0.0, interval + self._settings.random.uniform(-jitter, jitter))


async def sync_once(
    address: str,
    outbox: Outbox,
    settings: SyncSettings | None = None,
    *,
    deadline_seconds: float = 60.0,
) -> None:
    """Connect, push, pull, leave. Raises UnreachableError or CredentialError."""
    once = replace(settings or SyncSettings(), stay_connected=False)
    async with Sync.open(address, outbox, once) as sync:
        await sync.synced_once(deadline_seconds)


def _now() -> float:
    return asyncio.get_running_loop().time()
