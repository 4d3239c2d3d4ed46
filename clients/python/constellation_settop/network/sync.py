"""Sync: a background task that exchanges deltas and global updates with the device's shard."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import grpc

from constellation_settop.errors import CredentialError, StorageError, UnreachableError
from constellation_settop.network.backoff import Backoff, ExchangeFallback
from constellation_settop.network.channel import (
    CallFailure,
    connect,
    open_channel,
    parse_failure,
    parse_status,
)
from constellation_settop.network.exchange import DELTAS_WITH_HELLO, draw_interval, exchange_all
from constellation_settop.network.identity import TokenSource
from constellation_settop.network.outcome import SessionHooks, SessionOutcome
from constellation_settop.network.route import ShardRoute
from constellation_settop.network.session import DeviceSession
from constellation_settop.network.settings import SyncSettings
from constellation_settop.network.times import read_clock
from constellation_settop.network.transports import run_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from constellation_settop.storage.outbox import Outbox

log = logging.getLogger("constellation_settop")

LASTING_SESSION_SECONDS: Final = 10.0
"""A session that lasted this long was of use, even if no delta was acked in it."""


def _ignore() -> None:
    return None


class Sync:
    """Exchanges deltas and global updates with a shard in the background.

    Usable with an outbox alone, without a Brain. Failures on the network are logged and retried;
    only methods that wait, such as `flush`, raise them, as UnreachableError or CredentialError.

    Example:
        with Outbox.open("device.sqlite") as outbox:
            async with Sync.open("shard.example:50051", outbox) as sync:
                outbox.append(changes)
                await sync.flush(deadline_seconds=10)
    """

    def __init__(
        self,
        address: str,
        outbox: Outbox,
        settings: SyncSettings,
        *,
        on_global: Callable[[], None] = _ignore,
        on_welcome: Callable[[], None] = _ignore,
    ) -> None:
        """Prepare the task without starting it. Callers use `open`."""
        self.outbox = outbox
        """The device's file."""
        self._tokens = TokenSource(settings.credential, settings.identity)
        self._route = ShardRoute(address, outbox.device_id, settings, self._tokens)
        self._settings = settings
        self._on_new_global = on_global
        self._on_each_welcome = on_welcome
        self.catalogue_digest = 0
        """The digest of the shard's catalogue, as the newest Welcome gave it; 0 for none."""
        self._backoff = Backoff(
            settings.backoff_base_seconds, settings.backoff_cap_seconds, settings.random
        )
        self._wake = asyncio.Event()
        self._sync_requested = asyncio.Event()
        self._progress_event = asyncio.Event()
        self._is_closing = False
        self._session: DeviceSession | None = None
        self._fallback = ExchangeFallback()
        self._deltas_with_hello = DELTAS_WITH_HELLO
        """None after a call that failed: the rules of the shard may have refused the deltas."""
        self._welcomed_at: float | None = None
        self._made_progress = False
        self.last_ack_latency: float | None = None
        """Seconds from sending the newest acked delta to its ack; None before the first ack."""
        self.rejections: Counter[str] = Counter()
        """How often the shard did not store a pattern since this was opened, by the reason."""
        self.updates_applied = 0
        """Global updates applied since this was opened."""
        self.synced_at: float | None = None
        """When a delta was last acked or a sync completed, in seconds since 1970; None for
        never."""
        self.completed_sessions = 0
        """Sessions completed since this was opened. Sessions that stay connected do not count."""
        self.disconnect_reason: str | None = None
        """Why the last attempt failed. None after one that did not, and before the first."""
        self.is_credential_refused = False
        """True while the shard does not accept the credential."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        address: str,
        outbox: Outbox,
        settings: SyncSettings | None = None,
        *,
        on_global: Callable[[], None] = _ignore,
        on_welcome: Callable[[], None] = _ignore,
    ) -> AsyncIterator[Sync]:
        """Sync in the background until the block ends.

        Args:
            address: "host:port" of any shard, or of a proxy in front of the shards.
            outbox: the device's file, open as long as the block runs.
            settings: None means the defaults.
            on_global: called after each new global state; it must return at once.
            on_welcome: called after a shard has accepted a session; it must return at once.

        It does not wait for a connection. When the block ends, it waits up to
        `close_timeout_seconds` for the acks of deltas in flight.
        """
        sync = cls(
            address, outbox, settings or SyncSettings(), on_global=on_global, on_welcome=on_welcome
        )
        # Not a task group, which would wrap the caller's own exceptions.
        task = asyncio.create_task(sync._run(), name="settop_sync")
        try:
            yield sync
        finally:
            await sync._close(task)

    @property
    def address(self) -> str:
        """The address of the shard to connect to next, "host:port"."""
        return self._route.address

    @property
    def is_connected(self) -> bool:
        """True while the shard has accepted a session that has not ended."""
        session = self._session
        return session is not None and session.welcome is not None and session.final_outcome is None

    def notify(self) -> None:
        """Announce new deltas in the outbox: a connected device sends them now."""
        self._wake.set()

    def sync_soon(self) -> None:
        """Sync now instead of at the next interval. It does not shorten a back-off."""
        self._sync_requested.set()
        self._wake.set()

    def restart_session(self) -> None:
        """End the session, if there is one, and begin another, because the outbox was replaced."""
        if self._session is not None:
            self._session.restart()
        self.sync_soon()

    async def flush(self, deadline_seconds: float) -> None:
        """Wait until every delta is acked.

        Raises UnreachableError when that takes longer than `deadline_seconds`, and CredentialError
        instead when the shard refuses the credential.
        """
        self.sync_soon()
        await self._wait_until(lambda: not self.outbox.pending_deltas, deadline_seconds)

    async def wait_for_update(self, deadline_seconds: float, *, after: int = 0) -> None:
        """Wait until more than `after` global updates were applied since this was opened.

        Raises the same errors as `flush`.
        """
        await self._wait_until(lambda: self.updates_applied > after, deadline_seconds)

    async def wait_for_session(self, deadline_seconds: float) -> None:
        """Wait until one whole session was completed after this call.

        Use it with `stay_connected=False`, because other sessions do not complete. Raises the same
        errors as `flush`.
        """
        before = self.completed_sessions
        self.sync_soon()
        await self._wait_until(lambda: self.completed_sessions > before, deadline_seconds)

    async def _wait_until(self, condition: Callable[[], bool], deadline_seconds: float) -> None:
        try:
            async with asyncio.timeout(deadline_seconds):
                while not condition():
                    self._progress_event.clear()
                    await self._progress_event.wait()
        except TimeoutError as error:
            kind = CredentialError if self.is_credential_refused else UnreachableError
            why = self.disconnect_reason or "the shard has not answered yet"
            raise kind(f"not complete within {deadline_seconds:g} s: {why}") from error

    async def _close(self, task: asyncio.Task[None]) -> None:
        self._is_closing = True
        leave_seconds = self._settings.close_timeout_seconds
        if self._session is not None:
            self._session.leave(read_clock(), leave_seconds)
        self.sync_soon()
        await asyncio.wait({task}, timeout=leave_seconds if self._must_wait_for_acks() else 0)
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    def _must_wait_for_acks(self) -> bool:
        session = self._session
        return self.is_connected or (session is not None and session.has_deltas_in_flight)

    async def _run(self) -> None:
        while not self._is_closing:
            self._sync_requested.clear()
            if not (self.outbox.is_sharing or self.outbox.pending_deltas):
                await self._sync_requested.wait()  # nothing is left to withdraw
                continue
            outcome = await self._run_session()
            self._progress_event.set()
            if self._is_closing:
                return
            if outcome.delay_seconds is None:
                delay = self._backoff.next_seconds()
                log.info("not connected (%s); next attempt in %.1f s", outcome.reason, delay)
                self.disconnect_reason = outcome.reason
                await self._pause(delay, is_interruptible=False)
            else:
                if not outcome.is_in_sync and outcome.address is None:
                    self.disconnect_reason = outcome.reason
                await self._pause(outcome.delay_seconds, is_interruptible=outcome.is_in_sync)

    async def _pause(self, seconds: float, *, is_interruptible: bool) -> None:
        if not is_interruptible:
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._sync_requested.wait()
        except TimeoutError:
            pass

    async def _run_session(self) -> SessionOutcome:
        """Sync on a channel of its own, and return how that ended."""
        channel = open_channel(self._route.address, self._settings.tls)
        stays_connected = self._stays_connected()
        self._made_progress = False
        try:
            await connect(channel)
            await self._tokens.refresh(channel)
            await self._route.load_shard_map(channel)
            if stays_connected:
                return await self._run_stream(channel)
            return await self._exchange(channel)
        except UnreachableError as error:
            self._fallback.reset()
            return self._route.record_unreachable(str(error))
        except StorageError as error:  # the outbox has logged it, once
            return SessionOutcome(str(error))
        except grpc.aio.AioRpcError as error:
            return self._handle_failure(parse_failure(error), was_stream=stays_connected)
        finally:
            self._session = None
            self._record_lasting_session()
            await channel.close()

    def _stays_connected(self) -> bool:
        return (
            self._settings.stay_connected
            and self.outbox.is_sharing
            and not self._fallback.is_active(read_clock())
        )

    def _begin_session(self, deltas_with_hello: int = 0) -> DeviceSession:
        self._session = DeviceSession(
            self.outbox,
            self._settings.random,
            self._make_hooks(),
            deltas_with_hello=deltas_with_hello,
            global_keys=self._settings.global_keys,
        )
        return self._session

    async def _run_stream(self, channel: grpc.aio.Channel) -> SessionOutcome:
        session = self._begin_session()

        def send_renewal(token: str) -> None:
            session.renew(token)
            self._wake.set()

        renewing = asyncio.create_task(
            self._tokens.renew_forever(channel, send_renewal), name="settop_renew"
        )
        try:
            await run_stream(channel, session, self._route.call_metadata(), self._wake)
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})
        return self._handle_end(session)

    async def _exchange(self, channel: grpc.aio.Channel) -> SessionOutcome:
        limit, self._deltas_with_hello = self._deltas_with_hello, 0  # until it succeeds
        is_trial = self._fallback.begin_exchange()
        session = await exchange_all(
            channel,
            self.outbox,
            self._begin_session,
            self._route.call_metadata(),
            deltas_with_hello=limit,
        )
        self._deltas_with_hello = DELTAS_WITH_HELLO
        if session.final_outcome is not None:
            return session.final_outcome
        assert session.welcome is not None
        if is_trial:
            self._fallback.use_exchanges(read_clock())
        self.completed_sessions += 1
        self._record_progress()
        interval = draw_interval(session.welcome, self._settings)
        return SessionOutcome("the device is in sync", interval, is_in_sync=True)

    def _make_hooks(self) -> SessionHooks:
        return SessionHooks(self._on_ack, self._on_rejection, self._on_global, self._on_welcome)

    def _on_ack(self, seq: int, seconds: float) -> None:
        self.last_ack_latency = seconds
        self._record_progress()
        if self._settings.on_ack is not None:
            self._settings.on_ack(seq, seconds)
        self._progress_event.set()

    def _on_rejection(self, reason: str) -> None:
        self.rejections[reason] += 1

    def _record_progress(self) -> None:
        """Forget failures: a Welcome alone proves too little, because any server can send one."""
        self._made_progress = True
        self.synced_at = time.time()
        self._backoff.reset()
        self._route.record_progress()

    def _record_lasting_session(self) -> None:
        """Count a session that has lasted as progress."""
        welcomed_at, self._welcomed_at = self._welcomed_at, None
        if welcomed_at is not None and read_clock() - welcomed_at >= LASTING_SESSION_SECONDS:
            self._record_progress()

    def _on_global(self) -> None:
        self.updates_applied += 1
        self._on_new_global()
        self._progress_event.set()

    def _on_welcome(self) -> None:
        self._welcomed_at = read_clock()
        self._route.record_welcome()
        self._fallback.reset()
        self.disconnect_reason = None
        self.is_credential_refused = False
        if self._session is not None and self._session.welcome is not None:
            self.catalogue_digest = self._session.welcome.catalogue_digest
        self._on_each_welcome()
        self._progress_event.set()

    def _handle_failure(self, failure: CallFailure, *, was_stream: bool) -> SessionOutcome:
        self.is_credential_refused = failure.is_credential_refused
        if failure.address is not None:
            return self._route.follow_redirect(
                SessionOutcome(failure.reason, failure.delay_seconds or 0.0, failure.address)
            )
        if failure.delay_seconds is None:
            is_lost = self._session is not None and self._session.welcome is None
            if is_lost and was_stream and not failure.is_from_shard:
                self._fallback.record_lost_stream()
            return SessionOutcome(failure.reason)
        jitter = self._backoff.next_seconds()  # many devices got the same delay
        return SessionOutcome(failure.reason, failure.delay_seconds + jitter)

    def _handle_end(self, session: DeviceSession) -> SessionOutcome:
        """Return what follows a stream that has ended."""
        if session.failure is not None:
            return self._handle_failure(parse_status(session.failure), was_stream=True)
        outcome = session.outcome()
        if outcome.address is not None:
            return self._route.follow_redirect(outcome)
        if session.welcome is None and outcome.delay_seconds is None:
            self._fallback.record_lost_stream()
            return outcome
        if outcome.delay_seconds is None or self._made_progress:
            return outcome
        jitter = self._backoff.next_seconds()  # a shard that drains at once drains again
        return replace(outcome, delay_seconds=outcome.delay_seconds + jitter)
