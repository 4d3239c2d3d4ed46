"""The session of one device's stream: a state machine from frames to frames, without gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from constellation.auth.principal import (
    CALLER,
    Role,
    require_own_device,
    require_role,
)
from constellation.core.device_update import HeldState
from constellation.core.ingest.deltas import Receipt, Verdict
from constellation.core.ingest.inbox import InboxEntry
from constellation.core.ingest.stats import UpdateResult
from constellation.core.table.origins import UNKNOWN_ORIGIN
from constellation.encoding import Encoding
from constellation.errors import (
    ConstellationError,
    HelloTimeoutError,
    InvalidInputError,
    NotOwnerError,
    NotReadyError,
    OutOfOrderError,
    SlowReaderError,
    TooManyInflightError,
    UnauthenticatedError,
)
from constellation.transport.codec.patterns import (
    from_rejection,
    to_delta,
)
from constellation.transport.codec.times import to_duration
from constellation.transport.sync.limits import (
    HELLO_TIMEOUT_SECONDS,
)
from constellation.transport.sync.origin_limits import read_call_origin
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb
from constellation.wall_clock import read_clock

if TYPE_CHECKING:
    from constellation.auth.principal import Principal
    from constellation.core.global_state import GlobalVersion
    from constellation.transport.sync.greeting import Greeter
    from constellation.transport.sync.outgoing import OutgoingFrames
    from constellation.transport.sync.updates import DeviceAnswer

_MAX_MISSED_HEARTBEATS: Final = 2


class SessionRegistry(Protocol):
    """The owner of all sessions, as a session sees it."""

    def register(self, session: DeviceSession) -> None:
        """Add a session after its Hello; an older session of the same device is superseded."""
        ...

    def queue_update(self, session: DeviceSession) -> None:
        """Send the session an update of the global state and similar patterns, when it is due."""
        ...


class DeviceSession:
    """The state and the rules of one Sync stream."""

    def __init__(
        self,
        greeter: Greeter,
        streams: SessionRegistry,
        outgoing: OutgoingFrames,
        now: float,
    ) -> None:
        self.outgoing = outgoing
        self.trace = greeter.shard.tracer.find_current_trace()
        self.device_id = b""
        """Empty before Hello."""
        self.has_ended = False
        """True once the session takes no more frames: after a Bye, a redirect or an error."""
        self.opened_at = now
        self.last_received_at = now
        self.updated_at = float("-inf")
        """The loop time of the last update, or of the Hello of a device that had one before."""
        self.held_state = HeldState()
        self.capacity = 0
        self.encoding = Encoding.INT8
        self._token_ends_at = float("inf")
        """The loop time at which the device's token expires."""
        self._take_caller(CALLER.get(), now)
        self.call_origin = read_call_origin()
        self._origin = UNKNOWN_ORIGIN
        self._shard = greeter.shard
        self._limits = greeter.limits
        self._greeter = greeter
        self._streams = streams
        self._incarnation = 0
        self._next_seq = 0
        """The number of the next delta to accept; those before it are durable or in flight."""
        self._through_seq = 0
        self._inflight = 0
        self._needs_resync = False
        self._bye_reason: pb.ByeReason.ValueType | None = None
        """The reason of the Bye that waits for the acks of the deltas in flight; None without."""
        self._nonce = 0
        self._offered_state: HeldState | None = None
        self._refused_version: GlobalVersion | None = None
        self._has_withheld_update = False

    def receive(self, frame: pb.SyncRequest, now: float) -> None:  # noqa: C901 - a case a frame
        """Handle one frame. A delta is not durable when this returns; its ack comes later.

        Raises the error that the stream must end with.
        """
        self.last_received_at = now
        kind = frame.WhichOneof("frame")
        if self.has_ended:
            return  # the frame was under way when the session ended
        if not self.device_id and kind not in ("hello", None):
            raise OutOfOrderError(f"the first frame must be hello, got {kind}")
        match kind:
            case "hello":
                self._handle_hello(frame.hello)
            case "delta":
                self._handle_delta(frame.delta, now)
            case "global_ack":
                self._handle_global_ack(frame.global_ack)
            case "heartbeat":
                self.outgoing.send_heartbeat()
            case "bye":
                self._end_with_bye(pb.BYE_REASON_DONE)
            case "renewal":
                self._renew(frame.renewal.token, now)
            case None:
                raise InvalidInputError(
                    "frame", "must be one of hello, delta, global_ack, heartbeat, renewal, bye"
                )

    def complete(self, receipt: Receipt) -> None:
        """Handle the receipt of one of this session's deltas, which is durable now."""
        self._inflight -= 1
        self._through_seq = receipt.through_seq
        if receipt.verdict is Verdict.APPLIED:
            self._needs_resync = False
        elif receipt.verdict is Verdict.DUPLICATE:
            self._next_seq = max(self._next_seq, receipt.through_seq + 1)
        else:  # another stream moved the cursor
            self._needs_resync = receipt.verdict is Verdict.RESYNC
            self._next_seq = receipt.through_seq + 1
        self.outgoing.send_ack(
            receipt.through_seq,
            receipt.through_seq + 1,
            full_resync=self._needs_resync,
            rejected=[from_rejection(rejected) for rejected in receipt.rejections],
            signals_dropped=receipt.signals_dropped,
        )
        self._require_reader()
        if self._bye_reason is not None:
            self._end_with_bye(self._bye_reason)

    def _require_reader(self) -> None:
        """End the stream of a device that sends what is rejected, and does not read the acks."""
        limits = self._limits
        most = 2 * limits.max_inflight_deltas * limits.max_patterns_per_delta
        if (waiting := self.outgoing.waiting_rejections) > most:
            self.fail(
                SlowReaderError(
                    f"{waiting} rejected patterns wait in an ack, more than {most}: the device "
                    "sends, but does not read"
                )
            )

    def fail(self, error: ConstellationError) -> None:
        """End the stream with an error."""
        self.has_ended = True
        self.outgoing.fail(error)

    def offer(self, update: DeviceAnswer, now: float) -> None:
        """Send an update, and note what the device holds once it has applied it."""
        self._nonce += 1
        self._offered_state = update.held
        self.updated_at = now
        self.outgoing.send_update(update.body, self._nonce)

    def can_offer(self, version: GlobalVersion) -> bool:
        """Return whether an update to a version may be sent now.

        A version that the device refused is not sent again. No update is sent until the device has
        answered the last one, because what it holds is not known before; its answer then queues the
        withheld update.
        """
        if self._offered_state is not None and not self.outgoing.has_pending_update:
            self._has_withheld_update = True
            return False
        return not self.has_ended and version != self._refused_version

    def drain(self, deadline: float, delay_min: float, delay_max: float) -> None:
        """Ask the device to leave, and to come back after a random delay. Times are in seconds."""
        self.outgoing.send_control(
            pb.SyncResponse(
                drain=pb.Drain(
                    deadline=to_duration(deadline),
                    delay_min=to_duration(delay_min),
                    delay_max=to_duration(delay_max),
                )
            )
        )

    def close(self) -> None:
        """End the session in order: first the acks of the deltas in flight, then Bye."""
        self._end_with_bye(pb.BYE_REASON_SHUTDOWN)

    def is_old(self, now: float) -> bool:
        """Return whether the stream has been open for long enough."""
        return not self.has_ended and now - self.opened_at > self._limits.stream_seconds

    def check_timeouts(self, now: float) -> ConstellationError | None:
        """Return the error that an overdue session must end with; None when it is in time.

        A session is overdue when its device was silent, or did not read, for too long.
        """
        writing_since = self.outgoing.writing_since
        limit = self._limits.slow_reader_seconds
        if writing_since is not None and now - writing_since > limit:
            return SlowReaderError(f"the device has read nothing for {limit:g} seconds")
        if now > self._token_ends_at:
            return UnauthenticatedError("the token has expired: connect again with a new one")
        if self._caller.is_revoked():
            return UnauthenticatedError("the key of the token was revoked: get a new token")
        silent = now - self.last_received_at
        if not self.device_id and silent > HELLO_TIMEOUT_SECONDS:
            return HelloTimeoutError(f"no hello came within {HELLO_TIMEOUT_SECONDS:g} seconds")
        if silent > self._limits.heartbeat_seconds * _MAX_MISSED_HEARTBEATS:
            return NotReadyError(
                f"no frame came for {silent:.0f} seconds, longer than "
                f"{_MAX_MISSED_HEARTBEATS} heartbeat intervals: reconnect"
            )
        return None

    def forgive_pause(self, seconds: float, now: float) -> None:
        """Leave a time until `now`, in which this process stood still, out of every timeout."""
        self.last_received_at = min(now, self.last_received_at + seconds)
        self.outgoing.forgive_pause(seconds, now)

    def _take_caller(self, caller: Principal, now: float) -> None:
        self._caller = caller
        left = caller.seconds_left(read_clock())
        self._token_ends_at = now + left if left is not None else float("inf")

    def _renew(self, token: str, now: float) -> None:
        """Let the stream last as long as a newer token of the same device."""
        if self._caller.verify is None:
            return  # nobody needs a token here
        caller = self._caller.verify(token)
        require_own_device(self.device_id, caller)
        require_role(caller, Role.DEVICE)
        self._take_caller(caller, now)

    def _handle_hello(self, hello: pb.Hello) -> None:
        if self.device_id:
            raise OutOfOrderError("hello came twice on one stream")
        try:
            greeting = self._greeter.greet(hello, self._caller, self.call_origin)
        except NotOwnerError as error:
            self._redirect(error)
            return
        welcome = greeting.welcome
        self.device_id = greeting.device_id
        self.encoding, self.capacity = greeting.encoding, greeting.capacity
        self.held_state = greeting.held_state
        self._origin = greeting.origin
        self._incarnation = greeting.incarnation
        self._needs_resync = welcome.full_resync
        self._next_seq = welcome.expected_seq
        self._through_seq = welcome.expected_seq - 1
        self.outgoing.send_control(pb.SyncResponse(welcome=welcome))
        self._streams.register(self)
        is_current = self.held_state.version == self._shard.global_state.version
        if is_current and self.held_state.similar:
            self.updated_at = self.last_received_at  # what it lacks, if anything, can wait
        self._streams.queue_update(self)  # versions say nothing of its similar patterns

    def _handle_delta(self, delta: patterns.Delta, now: float) -> None:
        seq = delta.seq
        if 0 < seq < self._next_seq:
            if seq <= self._through_seq:
                self._shard.stats.deltas[Verdict.DUPLICATE] += 1
                self.outgoing.send_ack(
                    self._through_seq, self._next_seq, full_resync=self._needs_resync
                )
            return  # the delta is acked above, or its ack is still to come
        if seq > self._next_seq:
            self._catch_up()
        if not delta.snapshot and (self._needs_resync or seq > self._next_seq):
            self.outgoing.send_ack(
                self._through_seq, self._next_seq, full_resync=self._needs_resync
            )
            return
        if self._inflight >= self._limits.max_inflight_deltas:
            raise TooManyInflightError(
                f"delta {seq} is one more than the {self._limits.max_inflight_deltas} deltas that "
                "may be unacked: wait for an ack"
            )
        checked = to_delta(
            self.device_id, self._incarnation, delta, self._limits.max_patterns_per_delta
        )
        checked.origin = self._origin
        self._inflight += 1
        self._next_seq = seq + 1
        self._needs_resync = False  # what follows a snapshot is in order again
        self._shard.inbox.put(InboxEntry(checked, self, now))

    def _catch_up(self) -> None:
        """Move on to the stored cursor, which deltas without a stream may have moved."""
        cursor = self._shard.find_cursor(self.device_id)
        if cursor and cursor.incarnation == self._incarnation and cursor.seq >= self._next_seq:
            self._through_seq = cursor.seq
            self._next_seq = cursor.seq + 1

    def _handle_global_ack(self, ack: pb.GlobalAck) -> None:
        if self._offered_state is None or ack.nonce != self._nonce:
            return  # an ack of an older update, or of an older stream
        held, self._offered_state = self._offered_state, None
        if self._has_withheld_update:
            self._has_withheld_update = False
            self._streams.queue_update(self)
        stats = self._shard.stats
        is_refused = ack.HasField("error")
        stats.global_acks[UpdateResult.REFUSED if is_refused else UpdateResult.APPLIED] += 1
        if is_refused:
            self._refused_version = held.version
            return
        self.held_state = held

    def _redirect(self, error: NotOwnerError) -> None:
        self.has_ended = True
        self.outgoing.send_control(
            pb.SyncResponse(
                redirect=pb.Redirect(
                    shard_id=error.shard_id,
                    address=error.address,
                    delay_min=to_duration(0),
                    delay_max=to_duration(1),
                )
            )
        )
        self.outgoing.close()

    def _end_with_bye(self, reason: pb.ByeReason.ValueType) -> None:
        self.has_ended = True
        self._bye_reason = reason
        if not self._inflight:
            self.outgoing.send_bye(reason)
