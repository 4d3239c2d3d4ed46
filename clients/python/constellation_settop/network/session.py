"""The device's side of one Sync session as a state machine: frames in, frames out.

No gRPC, no task, no clock. `now` is any clock that only goes forward, in seconds.
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
from constellation_settop.network.hello import build_hello
from constellation_settop.network.outcome import SessionHooks, SessionOutcome
from constellation_settop.network.resync import needs_snapshot

if TYPE_CHECKING:
    from random import Random

    from google.protobuf.duration_pb2 import Duration

    from constellation_settop.storage.outbox import Outbox

log = logging.getLogger("constellation_settop")

WELCOME_TIMEOUT_SECONDS: Final = 20.0
ACK_TIMEOUT_SECONDS: Final = 60.0
"""Without an ack for this long although a delta is in flight, the session is broken."""
DEFAULT_HEARTBEAT_SECONDS: Final = 30.0
HEARTBEAT_SHARE: Final = 0.75
"""Share of the heartbeat interval after which one is sent, so that it is not late."""
MAX_MISSED_HEARTBEATS: Final = 2


@dataclass(frozen=True, slots=True)
class InFlightDelta:
    seq: int
    sent_at: float


class DeviceSession:
    """One session, from Hello to its end. Changes the outbox as acks and updates arrive."""

    def __init__(
        self, outbox: Outbox, random: Random, hooks: SessionHooks, *, leave_when_done: bool = False
    ) -> None:
        self._outbox = outbox
        self._random = random
        self._hooks = hooks
        self._leaves_when_done = leave_when_done
        self._control_frames: list[pb.SyncRequest] = []
        self._in_flight: deque[InFlightDelta] = deque()
        self._sent_seq = 0
        self._acked_seq = 0
        self._resent_from_seq = 0
        self._paused_until = 0.0
        self._leave_deadline: float | None = None
        self._planned_outcome: SessionOutcome | None = None
        self._last_sent_at = self._last_received_at = 0.0
        self.welcome: pb.Welcome | None = None
        self.has_sent_bye = False
        """Bye is said: nothing is to be sent any more."""
        self.final_outcome: SessionOutcome | None = None
        """Set once the session has ended, or must."""

    def start(self, now: float) -> None:
        """Begin: the first frame to take is Hello."""
        hello = build_hello(self._outbox)
        self._control_frames.append(pb.SyncRequest(hello=hello))
        self._last_sent_at = self._last_received_at = now

    def receive(self, frame: pb.SyncResponse, now: float) -> None:
        """Handle one frame. Raises StorageError when the outbox cannot be written."""
        self._last_received_at = now
        match frame.WhichOneof("frame"):
            case "welcome":
                self._handle_welcome(frame.welcome)
            case "delta_ack":
                self._handle_ack(frame.delta_ack, now)
            case "global_update":
                self._handle_update(frame.global_update)
            case "throttle":
                delay = self._draw_delay(frame.throttle.delay_min, frame.throttle.delay_max)
                self._paused_until = max(self._paused_until, now + delay)
            case "redirect":
                self._handle_redirect(frame.redirect)
            case "drain":
                self._handle_drain(frame.drain, now)
            case "bye":
                self.final_outcome = self._planned_outcome or SessionOutcome("the shard said bye")

    def _handle_welcome(self, welcome: pb.Welcome) -> None:
        self.welcome = welcome
        outbox = self._outbox
        limit = welcome.max_patterns_per_delta or outbox.patterns_per_delta
        outbox.apply_rules(quality_threshold=welcome.quality_threshold, patterns_per_delta=limit)
        too_large = any(pending.size > limit for pending in outbox.pending_deltas)
        if too_large or needs_snapshot(outbox, welcome.expected_seq, welcome.full_resync):
            outbox.compact_to_snapshot(welcome.expected_seq)
        if (
            outbox.pending_deltas
        ):  # what the shard knows already is not sent again, but for one to ack it
            self._sent_seq = min(welcome.expected_seq, outbox.pending_deltas[-1].seq) - 1
        self._hooks.on_welcome()

    def _handle_ack(self, ack: patterns_pb2.DeltaAck, now: float) -> None:
        rejected: dict[int, bytes] = {}
        for each in ack.rejected:
            rejected[each.seq] = rejected.get(each.seq, b"") + each.pattern_id
        self._outbox.acknowledge(ack.through_seq, rejected)
        while self._in_flight and self._in_flight[0].seq <= ack.through_seq:
            delta = self._in_flight.popleft()
            self._hooks.on_ack(delta.seq, now - delta.sent_at)
        progressed = ack.through_seq > self._acked_seq
        self._acked_seq = max(self._acked_seq, ack.through_seq)
        if ack.full_resync or not progressed:
            self._rewind(ack.expected_seq, ack.full_resync)

    def _rewind(self, expected_seq: int, full_resync: bool) -> None:  # noqa: FBT001  # as in the frames
        """Send again from `expected_seq`, once each: deltas in flight are answered one by one."""
        snapshot_in_flight = any(
            pending.is_snapshot and pending.seq <= self._sent_seq
            for pending in self._outbox.pending_deltas
        )
        if snapshot_in_flight or (not full_resync and expected_seq <= self._resent_from_seq):
            return
        if not full_resync and not self._in_flight:
            return
        if needs_snapshot(self._outbox, expected_seq, full_resync):
            self._outbox.compact_to_snapshot(expected_seq)
        self._resent_from_seq = expected_seq
        self._sent_seq = min(self._sent_seq, expected_seq - 1)
        while self._in_flight and self._in_flight[-1].seq >= expected_seq:
            self._in_flight.pop()

    def _handle_update(self, update: patterns_pb2.GlobalUpdate) -> None:
        before = self._outbox.global_state
        ack = pb.GlobalAck(nonce=update.nonce)
        try:
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
            f"shard {redirect.shard_id} owns us", delay, redirect.address
        )

    def _handle_drain(self, drain: pb.Drain, now: float) -> None:
        delay = self._draw_delay(drain.delay_min, drain.delay_max)
        self._planned_outcome = SessionOutcome("the shard drains", delay)
        self._leave_deadline = now + drain.deadline.ToTimedelta().total_seconds()

    def leave(self, now: float, within_seconds: float) -> None:
        """Say Bye once what is in flight is acked, or `within_seconds` have passed."""
        self._planned_outcome = self._planned_outcome or SessionOutcome("we leave")
        self._leave_deadline = now + within_seconds

    def take_frames(self, now: float) -> list[pb.SyncRequest]:
        """Return the frames to write now, in this order."""
        frames, self._control_frames = self._control_frames, []
        if self.welcome is not None and not self.has_sent_bye and self.final_outcome is None:
            if self._leave_deadline is None and now >= self._paused_until:
                frames += self._take_deltas(self.welcome, now)
            if self._can_leave(now):
                frames.append(pb.SyncRequest(bye=pb.Bye(reason=pb.BYE_REASON_DONE)))
                self.has_sent_bye = True
            elif not frames and now - self._last_sent_at >= self._heartbeat_send_seconds:
                frames.append(pb.SyncRequest(heartbeat=pb.Heartbeat()))
        if frames:
            self._last_sent_at = now
        return frames

    def _take_deltas(self, welcome: pb.Welcome, now: float) -> list[pb.SyncRequest]:
        frames = []
        room = max(1, welcome.max_inflight_deltas) - len(self._in_flight)
        waiting = [each.seq for each in self._outbox.pending_deltas if each.seq > self._sent_seq]
        for seq in waiting[: max(0, room)]:
            frames.append(pb.SyncRequest(delta=self._outbox.read_delta(seq)))
            self._outbox.mark_sent(seq)
            self._in_flight.append(InFlightDelta(seq, now))
            self._sent_seq = seq
        return frames

    def _can_leave(self, now: float) -> bool:
        if self._leave_deadline is not None:
            return not self._in_flight or now >= self._leave_deadline
        return self._leaves_when_done and not self._in_flight and not self._outbox.pending_deltas

    def check_timeouts(self, now: float) -> None:
        """End the session when the shard is silent for too long."""
        if self.final_outcome is not None or self.has_sent_bye:
            return
        silence = now - self._last_received_at
        if self.welcome is None and silence > WELCOME_TIMEOUT_SECONDS:
            self.final_outcome = SessionOutcome("no welcome came")
        elif self.welcome is not None and silence > MAX_MISSED_HEARTBEATS * self.heartbeat_seconds:
            self.final_outcome = SessionOutcome("the shard fell silent")
        elif self._in_flight and now - self._in_flight[0].sent_at > ACK_TIMEOUT_SECONDS:
            self.final_outcome = SessionOutcome("an ack is overdue")

    def next_wake_time(self, now: float) -> float:
        """Return when `check` and `take` are due again, unless a frame or a delta comes first."""
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
    def is_complete(self) -> bool:
        """We said Bye because everything is acked."""
        return self.has_sent_bye and self._planned_outcome is None and not self._in_flight

    def outcome(self) -> SessionOutcome:
        """Return how it ended; without a reason of either side the connection broke."""
        return self.final_outcome or self._planned_outcome or SessionOutcome("the stream ended")

    @property
    def heartbeat_seconds(self) -> float:
        seconds = _to_seconds(self.welcome.heartbeat_interval) if self.welcome else 0.0
        return seconds or DEFAULT_HEARTBEAT_SECONDS

    @property
    def _heartbeat_send_seconds(self) -> float:
        return HEARTBEAT_SHARE * self.heartbeat_seconds

    def _draw_delay(self, minimum: Duration, maximum: Duration) -> float:
        return max(0.0, self._random.uniform(_to_seconds(minimum), _to_seconds(maximum)))


def _to_seconds(duration: Duration) -> float:
    return duration.ToTimedelta().total_seconds()
