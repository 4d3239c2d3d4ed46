"""Session: one device's stream as a state machine: frames in, frames out, and no gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from google.protobuf.duration_pb2 import Duration

from constellation.core.ingest import spans as tracing
from constellation.core.ingest.deltas import Receipt, Verdict
from constellation.core.ingest.inbox import Entry
from constellation.encoding import ID_BYTES, Encoding
from constellation.errors import (
    ConstellationError,
    HelloTimeoutError,
    InvalidInputError,
    NotOwnerError,
    NotReadyError,
    OutOfOrderError,
    ShardFullError,
    SlowReaderError,
    TooManyInflightError,
)
from constellation.transport.codec.patterns import (
    MAX_SEQ,
    from_rejected,
    from_version,
    to_delta,
    to_device_id,
    to_ids,
    to_incarnation,
    to_version,
)
from constellation.transport.sync.limits import (
    HELLO_SECONDS,
    MAX_HELD,
    SDK_VERSION_BYTES,
    Limits,
)
from constellation.transport.sync.updates import Held
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb

if TYPE_CHECKING:
    from constellation.core.globals import Version
    from constellation.core.shard import ShardManager
    from constellation.transport.sync.outgoing import Outgoing

_MISSED_HEARTBEATS: Final = 2
_PREFERRED: Final = (Encoding.INT8, Encoding.FLOAT16, Encoding.FLOAT32)


class Streams(Protocol):
    """What a session tells of itself to whoever serves all of them."""

    def opened(self, session: Session) -> None:
        """Take a session that said Hello; an older one of its device is superseded."""
        ...

    def wants_update(self, session: Session) -> None:
        """Send the session what it lacks of the global state and similar patterns, in time."""
        ...


class Session:
    """The rules of one Sync stream."""

    def __init__(
        self,
        shard: ShardManager,
        limits: Limits,
        streams: Streams,
        outgoing: Outgoing,
        now: float,
    ) -> None:
        self.outgoing = outgoing
        self.trace = tracing.current()
        self.device_id = b""
        """Empty before Hello."""
        self.ended = False
        """The device said Bye, or was sent elsewhere."""
        self.last_heard = now
        self.updated_at = float("-inf")
        """When the last update was offered, or a device said Hello that lacked nothing."""
        self.held = Held()
        self.capacity = 0
        self.encoding = Encoding.INT8
        self._shard = shard
        self._limits = limits
        self._streams = streams
        self._incarnation = 0
        self._next_seq = 0
        """The next delta to accept; those before it are durable or on their way."""
        self._through_seq = 0
        self._inflight = 0
        self._resync = False
        self._leaving: pb.ByeReason.ValueType | None = None
        """Bye waits for the acks of what is in flight."""
        self._nonce = 0
        self._offered: Held | None = None
        self._refused: Version | None = None
        self._withheld = False

    def receive(self, frame: pb.SyncRequest, now: float) -> None:  # noqa: C901 - a case a frame
        """Handle one frame. A delta is not durable when this returns; its ack will say so.

        Raises what the stream must end with.
        """
        self.last_heard = now
        kind = frame.WhichOneof("frame")
        if self.ended:
            return  # what was on its way when the session ended
        if not self.device_id and kind not in ("hello", None):
            raise OutOfOrderError(f"the first frame must be hello, got {kind}")
        match kind:
            case "hello":
                self._hello(frame.hello)
            case "delta":
                self._delta(frame.delta, now)
            case "global_ack":
                self._global_ack(frame.global_ack)
            case "heartbeat":
                self.outgoing.heartbeat()
            case "bye":
                self._bye(pb.BYE_REASON_DONE)
            case None:
                raise InvalidInputError(
                    "frame", "must be one of hello, delta, global_ack, heartbeat, bye"
                )

    def settle(self, receipt: Receipt) -> None:
        """Take what became of one of this session's deltas, which is durable now."""
        self._inflight -= 1
        if receipt.verdict is Verdict.REFUSED:
            self.fail(ShardFullError("this shard has no room for another device"))
            return
        self._through_seq = receipt.through_seq
        if receipt.verdict is Verdict.APPLIED:
            self._resync = False
        elif receipt.verdict is Verdict.DUPLICATE:
            self._next_seq = max(self._next_seq, receipt.through_seq + 1)
        else:  # another stream moved the cursor
            self._resync = receipt.verdict is Verdict.RESYNC
            self._next_seq = receipt.through_seq + 1
        self.outgoing.ack(
            receipt.through_seq,
            receipt.through_seq + 1,
            resync_full=self._resync,
            rejected=[from_rejected(rejected) for rejected in receipt.rejected],
            signals_dropped=receipt.signals_dropped,
        )
        if self._leaving is not None:
            self._bye(self._leaving)

    def fail(self, error: ConstellationError) -> None:
        """End the stream with an error."""
        self.ended = True
        self.outgoing.fail(error)

    def offer(self, update: patterns.GlobalUpdate, held: Held, now: float) -> None:
        """Send an update, and remember what the device holds after it."""
        self._nonce += 1
        update.nonce = self._nonce
        self._offered = held
        self.updated_at = now
        self.outgoing.update(update)

    def accepts(self, version: Version) -> bool:
        """Say whether an update to a version may be sent now.

        Not one that the device refused, and none while it has not answered the last: what it holds
        is not known until then. Its answer asks for the one that was withheld.
        """
        if self._offered is not None and not self.outgoing.update_waits:
            self._withheld = True
            return False
        return not self.ended and version != self._refused

    def drain(self, deadline: float, delay_min: float, delay_max: float) -> None:
        """Ask the device to leave and come back after a random delay. Times are in seconds."""
        self.outgoing.control(
            pb.SyncResponse(
                drain=pb.Drain(
                    deadline=_duration(deadline),
                    delay_min=_duration(delay_min),
                    delay_max=_duration(delay_max),
                )
            )
        )

    def leave(self) -> None:
        """End the session in order: what is acked goes out, then Bye."""
        self._bye(pb.BYE_REASON_SHUTDOWN)

    def overdue(self, now: float) -> ConstellationError | None:
        """Return what a session must end with that was silent, or did not read, for too long."""
        writing_since = self.outgoing.writing_since
        limit = self._limits.slow_reader_seconds
        if writing_since is not None and now - writing_since > limit:
            return SlowReaderError(f"nothing was read for {limit:g} seconds")
        silent = now - self.last_heard
        if not self.device_id and silent > HELLO_SECONDS:
            return HelloTimeoutError(f"no hello within {HELLO_SECONDS:g} seconds")
        if silent > self._limits.heartbeat_seconds * _MISSED_HEARTBEATS:
            return NotReadyError(
                f"nothing heard for {silent:.0f} seconds, two heartbeat intervals: reconnect"
            )
        return None

    def _hello(self, hello: pb.Hello) -> None:
        if self.device_id:
            raise OutOfOrderError("hello came twice on one stream")
        device_id = to_device_id(hello.device_id)
        incarnation = to_incarnation(hello.incarnation)
        self.encoding, self.capacity = to_reader(hello, self._shard.rules.similar_limit)
        self.held = to_held(hello)
        try:
            self._shard.admit(device_id)
        except NotOwnerError as error:
            self._shard.stats.hellos["redirected"] += 1
            self._redirect(error)
            return
        except ConstellationError:
            self._shard.stats.hellos["refused"] += 1
            raise
        to_acked(hello.last_acked_seq)
        self.device_id = device_id
        self._incarnation = incarnation
        welcome = to_welcome(self._shard, self._limits, hello, self.encoding)
        self._resync = welcome.resync_full
        self._next_seq = welcome.expected_seq
        self._through_seq = welcome.expected_seq - 1
        stats = self._shard.stats
        stats.hellos["welcomed"] += 1
        stats.resyncs += welcome.resync_full
        self.outgoing.control(pb.SyncResponse(welcome=welcome))
        self._streams.opened(self)
        if self.held.version == self._shard.globals.version:
            self.updated_at = self.last_heard
        else:
            self._streams.wants_update(self)

    def _delta(self, delta: patterns.Delta, now: float) -> None:
        seq = delta.seq
        if 0 < seq < self._next_seq:
            if seq <= self._through_seq:
                self._shard.stats.deltas[Verdict.DUPLICATE] += 1
                self.outgoing.ack(self._through_seq, self._next_seq, resync_full=self._resync)
            return  # or its ack is on the way
        if seq > self._next_seq:
            self._catch_up()
        if not delta.snapshot and (self._resync or seq > self._next_seq):
            self.outgoing.ack(self._through_seq, self._next_seq, resync_full=self._resync)
            return
        if self._inflight >= self._limits.max_inflight_deltas:
            raise TooManyInflightError(
                f"delta {seq} is one more than the {self._limits.max_inflight_deltas} that may be "
                "unacked: wait for an ack"
            )
        checked = to_delta(
            self.device_id, self._incarnation, delta, self._limits.max_patterns_per_delta
        )
        self._inflight += 1
        self._next_seq = seq + 1
        self._resync = False  # what follows a snapshot is in order again
        self._shard.inbox.put(Entry(checked, self, now))

    def _catch_up(self) -> None:
        """Take in the deltas that came without the stream."""
        cursor = self._shard.cursor(self.device_id)
        if cursor and cursor.incarnation == self._incarnation and cursor.seq >= self._next_seq:
            self._through_seq = cursor.seq
            self._next_seq = cursor.seq + 1

    def _global_ack(self, ack: pb.GlobalAck) -> None:
        if self._offered is None or ack.nonce != self._nonce:
            return  # of an older update, or an older stream
        held, self._offered = self._offered, None
        if self._withheld:
            self._withheld = False
            self._streams.wants_update(self)
        stats = self._shard.stats
        stats.global_acks["refused" if ack.HasField("error") else "applied"] += 1
        if ack.HasField("error"):
            self._refused = held.version
            return
        self.held = held

    def _redirect(self, error: NotOwnerError) -> None:
        self.ended = True
        self.outgoing.control(
            pb.SyncResponse(
                redirect=pb.Redirect(
                    shard_id=error.shard_id,
                    address=error.address,
                    delay_min=_duration(0),
                    delay_max=_duration(1),
                )
            )
        )
        self.outgoing.close()

    def _bye(self, reason: pb.ByeReason.ValueType) -> None:
        self.ended = True
        self._leaving = reason
        if not self._inflight:
            self.outgoing.bye(reason)


def to_reader(hello: pb.Hello | pb.PullPatternsRequest, default: int) -> tuple[Encoding, int]:
    """Return the encoding a device is served in, and how many similar patterns it can keep."""
    if isinstance(hello, pb.Hello) and len(hello.sdk_version.encode()) > SDK_VERSION_BYTES:
        raise InvalidInputError("sdk_version", f"must be at most {SDK_VERSION_BYTES} bytes")
    known = [encoding for encoding in _PREFERRED if int(encoding) in hello.encodings]
    if hello.encodings and not known:
        raise InvalidInputError(
            "encodings", f"must name 1, 2 or 3, got {list(hello.encodings)}: none that is known"
        )
    return (known or [Encoding.INT8])[0], min(hello.pattern_capacity or default, default)


def to_held(declared: pb.Hello | pb.PullPatternsRequest) -> Held:
    """Return what a device declares to hold."""
    return Held(
        to_version(getattr(declared, "global")),
        _to_held_ids(declared.held_similar_ids, "held_similar_ids"),
        _to_held_ids(declared.held_cluster_ids, "held_cluster_ids"),
    )


def _to_held_ids(ids: bytes, field: str) -> frozenset[bytes]:
    to_ids(ids, field)
    if len(ids) > MAX_HELD * ID_BYTES:
        raise InvalidInputError(
            field, f"must be at most {MAX_HELD} ids, got {len(ids) // ID_BYTES}"
        )
    return frozenset(ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES))


def to_acked(last_acked_seq: int) -> int:
    """Check the highest seq that a device saw acked."""
    if last_acked_seq >= MAX_SEQ:
        raise InvalidInputError("last_acked_seq", f"must be below 2**63 - 1, got {last_acked_seq}")
    return last_acked_seq


def to_welcome(
    shard: ShardManager, limits: Limits, hello: pb.Hello, encoding: Encoding
) -> pb.Welcome:
    """Return the rules of a session, and where the device's numbering stands."""
    last_acked_seq = to_acked(hello.last_acked_seq)
    expected = shard.expectation(hello.device_id, hello.incarnation, last_acked_seq)
    welcome = pb.Welcome(
        epoch=shard.epoch,
        expected_seq=expected.expected_seq,
        resync_full=expected.resync_full,
        encoding=int(encoding),  # type: ignore[arg-type]  # enums are ints
        max_inflight_deltas=limits.max_inflight_deltas,
        max_patterns_per_delta=limits.max_patterns_per_delta,
        max_patterns=shard.rules.max_patterns_per_device,
        heartbeat_interval=_duration(limits.heartbeat_seconds),
        sync_interval=_duration(limits.sync_interval_seconds),
        sync_jitter=_duration(limits.sync_jitter_seconds),
        quality_threshold=shard.rules.quality_threshold,
    )
    getattr(welcome, "global").CopyFrom(from_version(shard.globals.version))
    return welcome


def _duration(seconds: float) -> Duration:
    whole = int(seconds)
    return Duration(seconds=whole, nanos=round((seconds - whole) * 1e9))
