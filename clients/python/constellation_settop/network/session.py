"""The device's side of one Sync session, as a state machine that takes and returns frames.

It uses no gRPC, task or clock. Every `now` is a monotonic time in seconds, from any origin.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from google.rpc import code_pb2, status_pb2

from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb
from constellation_settop.columns import MalformedUpdateError, apply_update, from_version
from constellation_settop.network.global_keys import require_signed
from constellation_settop.network.hello import build_hello, needs_snapshot
from constellation_settop.network.outcome import SessionHooks, SessionOutcome
from constellation_settop.network.rules import (
    MAX_PATTERNS_PER_DELTA,
    MAX_RESYNCS,
    MAX_UNSENT_FRAMES,
    BrokenShardError,
    UpdateRate,
    check_ack,
    check_welcome,
    clamp_delay,
    describe_rejection,
    is_reachable,
)
from constellation_settop.network.times import to_seconds

if TYPE_CHECKING:
    from random import Random

    from google.protobuf.duration_pb2 import Duration

    from constellation_settop.network.global_keys import GlobalKeys
    from constellation_settop.storage.outbox import Outbox

log = logging.getLogger("constellation_settop")

WELCOME_TIMEOUT_SECONDS: Final = 20.0
"""How long the shard may take to answer Hello."""
ACK_TIMEOUT_SECONDS: Final = 60.0
"""How long a delta may be in flight before the session counts as broken."""
DEFAULT_HEARTBEAT_SECONDS: Final = 30.0
"""Heartbeat interval when the Welcome gives none."""
MIN_HEARTBEAT_SECONDS: Final = 0.1
MAX_HEARTBEAT_SECONDS: Final = 600.0
"""A device sends heartbeats at least this often, whatever the shard asks for."""
HEARTBEAT_SHARE: Final = 0.75
"""Share of the interval after which a heartbeat is sent, so that it arrives in time."""
MAX_MISSED_HEARTBEATS: Final = 2
"""Heartbeat intervals of silence after which the session counts as broken."""
MAX_DELTA_BYTES: Final = 128 << 10
"""Bytes of deltas that are taken at once, unless one alone has more."""


@dataclass(frozen=True, slots=True)
class InFlightDelta:
    """A delta that was sent and is not acked yet."""

    seq: int
    sent_at: float


class DeviceSession:
    """One session, from Hello to its end. It changes the outbox as acks and updates arrive.

    The owner calls `start`, then `take_frames` and `receive` as frames can be written and arrive,
    and `check_timeouts` no later than `next_wake_time`. The session is over when `final_outcome` is
    set or the connection ends.
    """

    def __init__(
        self,
        outbox: Outbox,
        random: Random,
        hooks: SessionHooks,
        *,
        deltas_with_hello: int = 0,
        global_keys: GlobalKeys | None = None,
    ) -> None:
        """Prepare a session. Up to `deltas_with_hello` deltas do not wait for the Welcome."""
        self._outbox = outbox
        self._global_keys = global_keys
        self._random = random
        self._hooks = hooks
        self._deltas_with_hello = deltas_with_hello
        self._control_frames: list[pb.SyncRequest] = []
        self._in_flight: deque[InFlightDelta] = deque()
        self._sent_seq = 0
        self._acked_seq = 0
        self._resent_from_seq = 0
        self._resync_count = 0
        self._update_rate = UpdateRate()
        self._paused_until = 0.0
        self._leave_deadline: float | None = None
        self._planned_outcome: SessionOutcome | None = None
        self._last_sent_at = self._last_received_at = 0.0
        self.welcome: pb.Welcome | None = None
        """The shard's Welcome, once it has come."""
        self.has_sent_bye = False
        """True once Bye was sent, or `stop_sending` was called: nothing more is sent."""
        self.failure: status_pb2.Status | None = None
        """The status with which the shard ends the stream, once it has sent it."""
        self.final_outcome: SessionOutcome | None = None
        """How the session ended, once it has."""

    def start(self, now: float) -> None:
        """Begin the session: the first frame to take is Hello."""
        hello = build_hello(self._outbox)
        self._control_frames.append(pb.SyncRequest(hello=hello))
        self._last_sent_at = self._last_received_at = now

    def receive(self, frame: pb.SyncResponse, now: float) -> None:
        """Handle one frame from the shard. One that no shard sends ends the session.

        Raises StorageError when the outbox cannot be written.
        """
        if self.final_outcome is not None:
            return  # the frame was under way when the session ended
        try:
            self._receive(frame, now)
        except BrokenShardError as error:
            self.final_outcome = SessionOutcome(f"the shard breaks the protocol: {error}")

    def _receive(self, frame: pb.SyncResponse, now: float) -> None:  # noqa: C901 - a case a frame
        self._last_received_at = now
        match frame.WhichOneof("frame"):
            case "welcome":
                self._handle_welcome(frame.welcome)
            case "delta_ack":
                self._handle_ack(frame.delta_ack, now)
            case "global_update":
                self._handle_update(frame.global_update, now)
            case "throttle":
                delay = self._draw_delay(frame.throttle.delay_min, frame.throttle.delay_max)
                self._paused_until = max(self._paused_until, now + delay)
            case "redirect":
                self._handle_redirect(frame.redirect)
            case "drain":
                self._handle_drain(frame.drain, now)
            case "error":
                self.failure = frame.error
                self.final_outcome = SessionOutcome("the shard ended the stream with an error")
            case "bye":
                self.final_outcome = self._planned_outcome or SessionOutcome("the shard said Bye")

    def _handle_welcome(self, welcome: pb.Welcome) -> None:
        if self.welcome is not None:
            raise BrokenShardError("a second Welcome came on one stream")
        check_welcome(welcome)
        self.welcome = welcome
        outbox = self._outbox
        self._require_reachable(welcome.expected_seq)
        limit = welcome.max_patterns_per_delta or outbox.patterns_per_delta
        limit = min(limit, MAX_PATTERNS_PER_DELTA)
        outbox.apply_rules(quality_threshold=welcome.quality_threshold, patterns_per_delta=limit)
        too_large = any(pending.size > limit for pending in outbox.pending_deltas)
        if too_large or needs_snapshot(
            outbox, welcome.expected_seq, is_full_resync=welcome.full_resync
        ):
            outbox.compact_to_snapshot(welcome.expected_seq)
        if outbox.pending_deltas:
            # Skip what the shard has already. When it has everything, send the last delta again,
            # because its ack covers all of them.
            self._sent_seq = min(welcome.expected_seq, outbox.pending_deltas[-1].seq) - 1
        self._hooks.on_welcome()

    def _handle_ack(self, ack: patterns_pb2.DeltaAck, now: float) -> None:
        check_ack(ack)
        self._require_reachable(ack.expected_seq)
        rejected: dict[int, bytes] = {}
        for each in ack.rejected:
            rejected[each.seq] = rejected.get(each.seq, b"") + each.pattern_id
            self._hooks.on_rejection(describe_rejection(each.reason))
        self._outbox.acknowledge(ack.through_seq, rejected)
        while self._in_flight and self._in_flight[0].seq <= ack.through_seq:
            delta = self._in_flight.popleft()
            self._hooks.on_ack(delta.seq, now - delta.sent_at)
        progressed = ack.through_seq > self._acked_seq
        self._acked_seq = max(self._acked_seq, ack.through_seq)
        if ack.full_resync or not progressed:
            self._rewind(ack.expected_seq, is_full_resync=ack.full_resync)

    def _rewind(self, expected_seq: int, *, is_full_resync: bool) -> None:
        """Send again from `expected_seq`, but only once for each `expected_seq`.

        The shard answers each delta in flight, so that one gap is reported several times.
        """
        snapshot_in_flight = any(
            pending.is_snapshot and pending.seq <= self._sent_seq
            for pending in self._outbox.pending_deltas
        )
        if snapshot_in_flight or (not is_full_resync and expected_seq <= self._resent_from_seq):
            return
        if not is_full_resync and not self._in_flight:
            return
        if needs_snapshot(self._outbox, expected_seq, is_full_resync=is_full_resync):
            self._resync_count += 1
            if self._resync_count > MAX_RESYNCS:
                raise BrokenShardError(f"more than {MAX_RESYNCS} resyncs in one session")
            self._outbox.compact_to_snapshot(expected_seq)
        self._resent_from_seq = expected_seq
        self._sent_seq = min(self._sent_seq, expected_seq - 1)
        while self._in_flight and self._in_flight[-1].seq >= expected_seq:
            self._in_flight.pop()

    def _require_reachable(self, expected_seq: int) -> None:
        """Begin a new incarnation, and end the session, when the device cannot go on there."""
        next_seq = self._outbox.next_seq
        if not is_reachable(expected_seq, next_seq):
            self._outbox.begin_incarnation()
            raise BrokenShardError(
                f"expected_seq {expected_seq} is too far beyond this device's next delta, "
                f"{next_seq}: it begins a new incarnation"
            )

    def _handle_update(self, update: patterns_pb2.GlobalUpdate, now: float) -> None:
        self._update_rate.record(now)
        if len(self._control_frames) >= MAX_UNSENT_FRAMES:
            raise BrokenShardError("it sends global updates without reading the answers")
        if not self._outbox.is_sharing:
            return  # the device declared nothing, so the update is no change of what it has
        before = self._outbox.global_state
        ack = pb.GlobalAck(nonce=update.nonce)
        try:
            if self._global_keys is not None:
                require_signed(update, self._global_keys)
            after = apply_update(before, update)
        except MalformedUpdateError as error:
            log.warning("a global update was refused: %s", error)
            status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=str(error))
            ack.error.CopyFrom(status)
            ack.version.CopyFrom(from_version(before.version))
        else:
            self._outbox.save_global_state(after)
            ack.version.CopyFrom(from_version(after.version))
            self._hooks.on_global()
        self._control_frames.append(pb.SyncRequest(global_ack=ack))

    def _handle_redirect(self, redirect: pb.Redirect) -> None:
        delay = self._draw_delay(redirect.delay_min, redirect.delay_max)
        self.final_outcome = SessionOutcome(
            f"shard {redirect.shard_id} owns this device", delay, redirect.address
        )

    def _handle_drain(self, drain: pb.Drain, now: float) -> None:
        delay = self._draw_delay(drain.delay_min, drain.delay_max)
        self._planned_outcome = SessionOutcome("the shard is draining", delay)
        self._leave_deadline = now + clamp_delay(to_seconds(drain.deadline))

    def renew(self, token: str) -> None:
        """Send a newer token, so that the stream lasts as long as that token."""
        self._control_frames.append(pb.SyncRequest(renewal=pb.Renewal(token=token)))

    def restart(self) -> None:
        """End the session at once; another one begins with what the outbox has by then."""
        self.final_outcome = SessionOutcome("the device begins another session", 0.0)

    def leave(self, now: float, within_seconds: float) -> None:
        """Send Bye once the deltas in flight are acked, or once `within_seconds` have passed."""
        self._planned_outcome = self._planned_outcome or SessionOutcome("the device is closing")
        self._leave_deadline = now + within_seconds

    def stop_sending(self) -> None:
        """Note that the connection takes no more frames."""
        self.has_sent_bye = True

    def take_frames(self, now: float) -> list[pb.SyncRequest]:
        """Return the frames to write now, in order."""
        frames, self._control_frames = self._control_frames, []
        if self.has_sent_bye or self.final_outcome is not None:
            return frames
        if self._leave_deadline is None and now >= self._paused_until:
            frames += self._take_deltas(now)
        if self.welcome is not None:
            if self._can_leave(now):
                frames.append(pb.SyncRequest(bye=pb.Bye(reason=pb.BYE_REASON_DONE)))
                self.has_sent_bye = True
            elif not frames and now - self._last_sent_at >= self._heartbeat_send_seconds:
                frames.append(pb.SyncRequest(heartbeat=pb.Heartbeat()))
        if frames:
            self._last_sent_at = now
        return frames

    def _take_deltas(self, now: float) -> list[pb.SyncRequest]:
        """Return the next deltas that the shard takes now, at most `MAX_DELTA_BYTES` of them."""
        welcome = self.welcome
        limit = self._deltas_with_hello if welcome is None else max(1, welcome.max_inflight_deltas)
        room = max(0, limit - len(self._in_flight))
        waiting = [each.seq for each in self._outbox.pending_deltas if each.seq > self._sent_seq]
        frames: list[pb.SyncRequest] = []
        size = 0
        for seq in waiting[:room]:
            data = self._outbox.read_delta(seq)
            size += len(data)
            if frames and size > MAX_DELTA_BYTES:
                break
            frames.append(pb.SyncRequest(delta=patterns_pb2.Delta.FromString(data)))
            self._outbox.mark_sent(seq)
            self._in_flight.append(InFlightDelta(seq, now))
            self._sent_seq = seq
        return frames

    def _can_leave(self, now: float) -> bool:
        if self._leave_deadline is None:
            return False
        return not self._in_flight or now >= self._leave_deadline

    def end_exchange(self) -> None:
        """End a session whose answers came all at once: what is not acked now was not applied."""
        self._in_flight.clear()
        self.stop_sending()

    def check_timeouts(self, now: float) -> None:
        """End the session when the shard was silent for too long or an ack is overdue."""
        if self.final_outcome is not None or self.has_sent_bye:
            return
        silence = now - self._last_received_at
        if self.welcome is None and silence > WELCOME_TIMEOUT_SECONDS:
            self.final_outcome = SessionOutcome("the shard did not answer Hello in time")
        elif self.welcome is not None and silence > MAX_MISSED_HEARTBEATS * self.heartbeat_seconds:
            self.final_outcome = SessionOutcome("the shard sent nothing for too long")
        elif self._in_flight and now - self._in_flight[0].sent_at > ACK_TIMEOUT_SECONDS:
            self.final_outcome = SessionOutcome("the shard did not ack a delta in time")

    def next_wake_time(self, now: float) -> float:
        """Return when to call `check_timeouts` and `take_frames` again at the latest.

        A frame from the shard or a new delta makes an earlier call useful.
        """
        if self.welcome is None:
            return self._last_received_at + WELCOME_TIMEOUT_SECONDS
        times = [
            self._last_sent_at + self._heartbeat_send_seconds,
            self._last_received_at + MAX_MISSED_HEARTBEATS * self.heartbeat_seconds,
        ]
        if self._paused_until > now:
            times.append(self._paused_until)
        if self._leave_deadline is not None:
            times.append(self._leave_deadline)
        if self._in_flight:
            times.append(self._in_flight[0].sent_at + ACK_TIMEOUT_SECONDS)
        return min(times)

    @property
    def has_deltas_in_flight(self) -> bool:
        """True while deltas were sent that are not acked yet."""
        return bool(self._in_flight)

    def outcome(self) -> SessionOutcome:
        """Return how the session ended; when neither side gave a reason, the connection broke."""
        return self.final_outcome or self._planned_outcome or SessionOutcome("the stream ended")

    @property
    def heartbeat_seconds(self) -> float:
        """The heartbeat interval that the shard asks for, or the default."""
        seconds = to_seconds(self.welcome.heartbeat_interval) if self.welcome else 0.0
        if seconds <= 0:
            return DEFAULT_HEARTBEAT_SECONDS
        return min(max(MIN_HEARTBEAT_SECONDS, seconds), MAX_HEARTBEAT_SECONDS)

    @property
    def _heartbeat_send_seconds(self) -> float:
        return HEARTBEAT_SHARE * self.heartbeat_seconds

    def _draw_delay(self, minimum: Duration, maximum: Duration) -> float:
        return clamp_delay(self._random.uniform(to_seconds(minimum), to_seconds(maximum)))
