"""Whole sessions of a shard: frames in any order, between writes that block, breaks and ends."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import grpc
from google.protobuf.message import DecodeError

from constellation.auth.principal import CALLER, Principal, Role
from constellation.core.ingest.stats import Stats
from constellation.errors import ConstellationError
from constellation.transport.sync.greeting import Greeter
from constellation.transport.sync.limits import SessionLimits
from constellation.transport.sync.outgoing import Frame, OutgoingFrames
from constellation.transport.sync.session import DeviceSession
from constellation.transport.sync.streams import OpenStreams
from constellation.transport.sync.updates import UpdateEncoder
from constellation.v1 import sync_pb2 as pb
from tests.auth.callers import OWN
from tests.deltas import PatternSpec
from tests.sync_client import make_delta_message, make_hello
from tests.transport.sync.sessions import open_manager

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from constellation.auth.tokens import TokenVerifier
    from constellation.core.shard import ShardManager

STEP: Final = b"\xf0STEP\xf0"
"""Separates the steps of an input. The first byte of a step is its kind; a frame follows FRAME."""
FRAME, BLOCK, UNBLOCK, BREAK, COMMIT, UPDATE, DRAIN, CLOSE, DELETE, SUPERSEDE, PAUSE = range(11)
_LIMITS: Final = SessionLimits(max_inflight_deltas=4, max_patterns_per_delta=8)
_MAX_STEPS: Final = 64


class _Stream:
    """What a session writes to: a device that may stop reading, go on, or leave."""

    def __init__(self) -> None:
        self.outgoing = OutgoingFrames(self._write, lambda: None)
        self._is_writing = self._is_blocked = self._is_broken = False
        self._progress: asyncio.Future[None] | None = None

    async def _write(self, frame: Frame) -> None:
        assert not self._is_writing, "two writes at once: gRPC fails"
        assert not self.outgoing.has_ended, "a write after the end"
        if isinstance(frame, bytes):
            frame = pb.SyncResponse.FromString(frame)
        frame.SerializeToString()
        self._is_writing = True
        while self._is_blocked:
            self._progress = asyncio.get_running_loop().create_future()
            await self._progress
        self._is_writing = False
        if self._is_broken:
            raise grpc.aio.UsageError("the device has left")

    def block(self) -> None:
        self._is_blocked = True

    def unblock(self, *, is_broken: bool = False) -> None:
        self._is_blocked, self._is_broken = False, self._is_broken or is_broken
        if self._progress is not None and not self._progress.done():
            self._progress.set_result(None)


class ShardSessions:
    """A shard's core, on which each input is one session of a device, and a second one at most."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, manager: ShardManager, verifier: TokenVerifier
    ) -> None:
        self._loop = loop
        self._manager = manager
        self._streams = OpenStreams(Stats(), _LIMITS)
        self._greeter = Greeter(manager, _LIMITS, self._streams.guard)
        self._encoder = UpdateEncoder(manager)
        self._opened: list[DeviceSession] = []
        self._caller = Principal(OWN.hex(), frozenset({Role.DEVICE}), verify=verifier.verify)

    @classmethod
    @contextmanager
    def open(cls, verifier: TokenVerifier) -> Iterator[ShardSessions]:
        """Open a shard's core, and the loop on which it runs."""
        with asyncio.Runner() as runner:
            opened = open_manager()
            manager = runner.run(opened.__aenter__())
            try:
                made = cls(runner.get_loop(), manager, verifier)
                sending = runner.get_loop().create_task(made.send_updates())
                yield made
            finally:
                sending.cancel()
                runner.run(opened.__aexit__(None, None, None))

    async def send_updates(self) -> None:
        """Send the updates that sessions are due, beside what the inputs do."""
        await self._streams.send_updates_forever(self._manager, self._encoder)

    def run(self, data: bytes) -> None:
        """Run one input. Raises the error that ends the session, if one does."""
        self._loop.run_until_complete(self._run(data))

    async def _run(self, data: bytes) -> None:
        CALLER.set(self._caller)
        stream = _Stream()
        session = self._open(stream)
        try:
            for step in data.split(STEP)[:_MAX_STEPS]:
                if stream.outgoing.has_ended:
                    break
                if step:
                    await self._take_step(session, stream, step[0], step[1:])
            if isinstance(stream.outgoing.error, ConstellationError):
                raise stream.outgoing.error
        finally:
            stream.outgoing.abandon()
            stream.unblock()
            while self._opened:
                self._streams.remove(self._opened.pop())
            await self._commit()
        assert not len(self._streams), "a stream is not forgotten"
        assert stream.outgoing.waiting_bytes() < 1 << 20, "a stream holds too much"

    def _open(self, stream: _Stream) -> DeviceSession:
        now = self._loop.time()
        session = DeviceSession(self._greeter, self._streams, stream.outgoing, now)
        self._streams.add(session)
        self._opened.append(session)
        return session

    async def _take_step(  # noqa: C901 - a case a kind
        self, session: DeviceSession, stream: _Stream, kind: int, rest: bytes
    ) -> None:
        match kind % (PAUSE + 1):
            case 0:
                session.receive(pb.SyncRequest.FromString(rest), self._loop.time())
            case 1:
                stream.block()
            case 2:
                stream.unblock()
            case 3:
                stream.unblock(is_broken=True)
            case 4:
                await self._commit()
            case 5 if session.device_id and session.can_offer(self._manager.global_state.version):
                update = await self._encoder.make_update(
                    session.device_id, session.held_state, session.capacity, session.encoding
                )
                session.offer(update, self._loop.time())
            case 6:
                session.drain(1.0, 0.0, 1.0)
            case 7:
                session.close()
            case 8:
                self._streams.end_stream_of(session.device_id)
            case 9 if session.device_id:
                self._open(_Stream()).receive(
                    pb.SyncRequest(hello=pb.Hello(device_id=session.device_id, incarnation=1)),
                    self._loop.time(),
                )
            case 10:
                seconds = float(rest[0]) if rest else 1.0
                if error := session.check_timeouts(self._loop.time() + seconds):
                    raise error
        await asyncio.sleep(0)

    async def _commit(self) -> None:
        """Let the committer take what waits, and the sessions get their receipts."""
        async with asyncio.timeout(10):
            while len(self._manager.inbox):  # noqa: ASYNC110 - nothing says that it is empty
                await asyncio.sleep(0)
            async with self._manager.committer.write_lock:
                pass


SESSION_REFUSALS: Final = (DecodeError, ConstellationError)


def make_sessions(tokens: Sequence[str]) -> list[bytes]:
    """Return valid sessions: each kind of frame and of step is in one of them."""

    def frame(**fields: object) -> bytes:
        return bytes([FRAME]) + pb.SyncRequest(**fields).SerializeToString()  # type: ignore[arg-type]

    def join(*steps: bytes | int) -> bytes:
        return STEP.join(bytes([each]) if isinstance(each, int) else each for each in steps)

    hello = make_hello(0)
    hello.device_id = OWN
    opened = frame(hello=hello)
    first = frame(delta=make_delta_message(1, [PatternSpec(1)], snapshot=True))
    second = frame(delta=make_delta_message(2, [PatternSpec(2)], [1]))
    bye, heartbeat = frame(bye=pb.Bye()), frame(heartbeat=pb.Heartbeat())
    ack = frame(global_ack=pb.GlobalAck(nonce=1))
    renewals = [frame(renewal=pb.Renewal(token=token)) for token in tokens[:1]]
    return [
        join(opened, first, second, COMMIT, heartbeat, bye, COMMIT),
        join(opened, BLOCK, first, COMMIT, second, COMMIT, UNBLOCK, COMMIT, bye),
        join(opened, UPDATE, ack, UPDATE, first, bye, COMMIT, heartbeat),
        join(opened, *renewals, heartbeat, DRAIN, first, COMMIT, CLOSE),
        join(opened, first, BLOCK, heartbeat, CLOSE, UNBLOCK),
        join(opened, bytes([PAUSE, 5]), first, COMMIT, BREAK),
        join(opened, BLOCK, UPDATE, ack, UPDATE, UNBLOCK, UPDATE, DRAIN, bye),
    ]
