"""Exchanges: whole syncs without a stream, each in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.v1 import sync_pb2 as pb
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from constellation_settop.errors import UnreachableError
from constellation_settop.network.outcome import SessionOutcome
from constellation_settop.network.rules import MAX_RESYNCS
from constellation_settop.network.times import read_clock, to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import grpc

    from constellation.v1.sync_pb2_grpc import SyncServiceAsyncStub
    from constellation_settop.network.session import DeviceSession
    from constellation_settop.network.settings import SyncSettings
    from constellation_settop.storage.outbox import Outbox

EXCHANGE_TIMEOUT_SECONDS: Final = 30.0
DELTAS_WITH_HELLO: Final = 8
"""Deltas that go with the first Hello, when the shard has not said yet how many it takes."""
MAX_DELTAS: Final = 32
"""The most deltas of one call, however many a shard would take."""
MAX_IDLE_EXCHANGES: Final = 3
"""Calls in a row that may ack nothing: one learns the rules, one is asked for a snapshot."""
DEFAULT_INTERVAL_SECONDS: Final = 600.0
"""Pause between two syncs of a device that does not stay connected, when the shard names none."""
MIN_INTERVAL_SECONDS: Final = 1.0
"""The shortest pause between two syncs, whatever the shard asks for."""
_OWN_JITTER: Final = 0.5
"""The largest share by which an interval of the host's own choice is shortened or lengthened."""


async def exchange_all(
    channel: grpc.aio.Channel,
    outbox: Outbox,
    begin_session: Callable[[int], DeviceSession],
    metadata: Sequence[tuple[str, str]],
    *,
    deltas_with_hello: int,
) -> DeviceSession:
    """Sync in as many calls as the deltas need, usually one; return the session of the last call.

    `begin_session` takes the number of deltas that may go with Hello. Raises AioRpcError when a
    call fails, and StorageError when the outbox cannot be written.
    """
    stub: SyncServiceAsyncStub = SyncServiceStub(channel)
    idle, resyncs, limit = 0, 0, deltas_with_hello
    while True:
        session = begin_session(limit)
        acked_seq = outbox.last_acked_seq
        resyncs += await _exchange(stub, session, outbox, metadata)
        if session.final_outcome is not None or not outbox.pending_deltas:
            return session
        idle = 0 if outbox.last_acked_seq > acked_seq else idle + 1
        if idle >= MAX_IDLE_EXCHANGES or resyncs > MAX_RESYNCS:
            session.final_outcome = SessionOutcome(
                f"the shard acked nothing in {idle} calls, and asked {resyncs} times for everything"
            )
            return session
        assert session.welcome is not None
        limit = min(max(1, session.welcome.max_inflight_deltas), MAX_DELTAS)


async def _exchange(
    stub: SyncServiceAsyncStub,
    session: DeviceSession,
    outbox: Outbox,
    metadata: Sequence[tuple[str, str]],
) -> bool:
    """Make one call, and return whether the shard asks for everything."""
    session.start(read_clock())
    hello, *deltas = session.take_frames(read_clock())
    pending = outbox.pending_deltas
    has_more = bool(pending) and pending[-1].seq > (deltas[-1].delta.seq if deltas else 0)
    request = pb.ExchangeRequest(
        hello=hello.hello,
        deltas=[each.delta for each in deltas],
        skip_update=has_more or not outbox.is_sharing,
    )
    response = await stub.Exchange(
        request, timeout=EXCHANGE_TIMEOUT_SECONDS, metadata=tuple(metadata)
    )
    if response is None:  # gRPC's result for bytes that are no message of the type
        raise UnreachableError("its answer cannot be decoded: this is not a shard")
    if not response.HasField("welcome"):
        session.final_outcome = SessionOutcome("the shard answered a call without a Welcome")
    for frame in _split(response):
        session.receive(frame, read_clock())
    session.end_exchange()
    return response.welcome.full_resync or response.ack.full_resync


def _split(response: pb.ExchangeResponse) -> Iterator[pb.SyncResponse]:
    """Yield the content of an answer as the frames that a stream would bring."""
    yield pb.SyncResponse(welcome=response.welcome)
    if response.HasField("ack"):
        yield pb.SyncResponse(delta_ack=response.ack)
    if response.HasField("update"):
        yield pb.SyncResponse(global_update=response.update)


def draw_interval(welcome: pb.Welcome, settings: SyncSettings) -> float:
    """Return the seconds until the next sync, at random, so that devices spread out."""
    if settings.sync_every_seconds is not None:
        interval, jitter = settings.sync_every_seconds, _OWN_JITTER * settings.sync_every_seconds
    else:
        asked = to_seconds(welcome.sync_interval)
        interval = asked if asked > 0 else DEFAULT_INTERVAL_SECONDS
        jitter = min(abs(to_seconds(welcome.sync_jitter)), interval)
    return max(MIN_INTERVAL_SECONDS, interval + settings.random.uniform(-jitter, jitter))
