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
from constellation_settop.network.hello import hello_of
from constellation_settop.network.outcome import Hooks, Parting
from constellation_settop.network.resync import needs_snapshot

if TYPE_CHECKING:
    from random import Random

    from google.protobuf.duration_pb2 import Duration

    from constellation_settop.storage.outbox import Outbox

log = logging.getLogger("constellation_settop")

WELCOME_SECONDS: Final = 20.0
STALLED_SECONDS: Final = 60.0
"""Without an ack for this long although a delta is in flight, the session is broken."""
DEFAULT_HEARTBEAT_SECONDS: Final = 30.0
BEAT_EARLY: Final = 0.75
"""Share of the heartbeat interval after which one is sent, so that it is not late."""
MISSED_BEATS: Final = 2


@dataclass(frozen=True, slots=True)
class InFlight:
    seq: int
    sent_at: float


class Session:
    """One session, from Hello to its end. Changes the outbox as acks and updates arrive."""

    def __init__(
        self, outbox: Outbox, random: Random, hooks: Hooks, *, leave_when_done: bool = False
    ) -> None:
        self._outbox = outbox
        self._random = random
        self._hooks = hooks
        self._leave_when_done = leave_when_done
        self._control: list[pb.SyncRequest] = []
        self._in_flight: deque[InFlight] = deque()
        self._sent = 0
        self._acked = 0
        self._resent_from = 0
        self._pause_until = 0.0
        self._leave_by: float | None = None
        self._parting: Parting | None = None
        self._last_sent = self._last_heard = 0.0
        self.welcome: pb.Welcome | None = None
        self.parted = False
        """Bye is said: nothing is to be sent any more."""
        self.over: Parting | None = None
        """Set once the session has ended, or must."""

    def open(self, now: float) -> None:
        """Begin: the first frame to take is Hello."""
        hello = hello_of(self._outbox)
        self._control.append(pb.SyncRequest(hello=hello))
        self._last_sent = self._last_heard = now

    def receive(self, frame: pb.SyncResponse, now: float) -> None:
        """Handle one frame. Raises StorageError when the outbox cannot be written."""
        self._last_heard = now
        match frame.WhichOneof("frame"):
            case "welcome":
                self._open(frame.welcome)
            case "delta_ack":
                self._acknowledge(frame.delta_ack, now)
            case "global_update":
                self._update(frame.global_update)
            case "throttle":
                delay = self._draw(frame.throttle.delay_min, frame.throttle.delay_max)
                self._pause_until = max(self._pause_until, now + delay)
            case "redirect":
                self._redirect(frame.redirect)
            case "drain":
                self._drain(frame.drain, now)
            case "bye":
                self.over = self._parting or Parting("the shard said bye")

    def _open(self, welcome: pb.Welcome) -> None:
        self.welcome = welcome
        outbox = self._outbox
        limit = welcome.max_patterns_per_delta or outbox.patterns_per_delta
        outbox.follow(quality_threshold=welcome.quality_threshold, patterns_per_delta=limit)
        too_large = any(pending.size > limit for pending in outbox.pending)
        if too_large or needs_snapshot(outbox, welcome.expected_seq, welcome.resync_full):
            outbox.collapse(welcome.expected_seq)
        if outbox.pending:  # what the shard knows already is not sent again, but for one to ack it
            self._sent = min(welcome.expected_seq, outbox.pending[-1].seq) - 1
        self._hooks.on_welcome()

    def _acknowledge(self, ack: patterns_pb2.DeltaAck, now: float) -> None:
        rejected: dict[int, bytes] = {}
        for each in ack.rejected:
            rejected[each.seq] = rejected.get(each.seq, b"") + each.pattern_id
        self._outbox.acknowledge(ack.through_seq, rejected)
        while self._in_flight and self._in_flight[0].seq <= ack.through_seq:
            delta = self._in_flight.popleft()
            self._hooks.on_ack(delta.seq, now - delta.sent_at)
        progressed = ack.through_seq > self._acked
        self._acked = max(self._acked, ack.through_seq)
        if ack.resync_full or not progressed:
            self._go_back(ack.expected_seq, ack.resync_full)

    def _go_back(self, expected_seq: int, resync_full: bool) -> None:  # noqa: FBT001  # as in the frames
        """Send again from `expected_seq`, once each: deltas in flight are answered one by one."""
        snapshot_in_flight = any(
            pending.snapshot and pending.seq <= self._sent for pending in self._outbox.pending
        )
        if snapshot_in_flight or (not resync_full and expected_seq <= self._resent_from):
            return
        if not resync_full and not self._in_flight:
            return
        if needs_snapshot(self._outbox, expected_seq, resync_full):
            self._outbox.collapse(expected_seq)
        self._resent_from = expected_seq
        self._sent = min(self._sent, expected_seq - 1)
        while self._in_flight and self._in_flight[-1].seq >= expected_seq:
            self._in_flight.pop()

    def _update(self, update: patterns_pb2.GlobalUpdate) -> None:
        held = self._outbox.global_state
        answer = pb.GlobalAck(nonce=update.nonce)
        try:
            after = apply_update(held, update)
        except MalformedUpdateError as error:
            log.warning("a global update was refused: %s", error)
            status = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=str(error))
            answer.error.CopyFrom(status)
            answer.version.CopyFrom(from_version(held.version))
        else:
            self._outbox.save_global(after)
            answer.version.CopyFrom(from_version(after.version))
            self._hooks.on_global()
        self._control.append(pb.SyncRequest(global_ack=answer))

    def _redirect(self, redirect: pb.Redirect) -> None:
        delay = self._draw(redirect.delay_min, redirect.delay_max)
        self.over = Parting(f"shard {redirect.shard_id} owns us", delay, redirect.address)

    def _drain(self, drain: pb.Drain, now: float) -> None:
        delay = self._draw(drain.delay_min, drain.delay_max)
        self._parting = Parting("the shard drains", delay)
        self._leave_by = now + drain.deadline.ToTimedelta().total_seconds()

    def leave(self, now: float, within_seconds: float) -> None:
        """Say Bye once what is in flight is acked, or `within_seconds` have passed."""
        self._parting = self._parting or Parting("we leave")
        self._leave_by = now + within_seconds

    def take(self, now: float) -> list[pb.SyncRequest]:
        """Return the frames to write now, in this order."""
        frames, self._control = self._control, []
        if self.welcome is not None and not self.parted and self.over is None:
            if self._leave_by is None and now >= self._pause_until:
                frames += self._deltas(self.welcome, now)
            if self._is_done(now):
                frames.append(pb.SyncRequest(bye=pb.Bye(reason=pb.BYE_REASON_DONE)))
                self.parted = True
            elif not frames and now - self._last_sent >= self._beat_seconds:
                frames.append(pb.SyncRequest(heartbeat=pb.Heartbeat()))
        if frames:
            self._last_sent = now
        return frames

    def _deltas(self, welcome: pb.Welcome, now: float) -> list[pb.SyncRequest]:
        frames = []
        room = max(1, welcome.max_inflight_deltas) - len(self._in_flight)
        waiting = [each.seq for each in self._outbox.pending if each.seq > self._sent]
        for seq in waiting[: max(0, room)]:
            frames.append(pb.SyncRequest(delta=self._outbox.message(seq)))
            self._outbox.mark_sent(seq)
            self._in_flight.append(InFlight(seq, now))
            self._sent = seq
        return frames

    def _is_done(self, now: float) -> bool:
        if self._leave_by is not None:
            return not self._in_flight or now >= self._leave_by
        return self._leave_when_done and not self._in_flight and not self._outbox.pending

    def check(self, now: float) -> None:
        """End the session when the shard is silent for too long."""
        if self.over is not None or self.parted:
            return
        silence = now - self._last_heard
        if self.welcome is None and silence > WELCOME_SECONDS:
            self.over = Parting("no welcome came")
        elif self.welcome is not None and silence > MISSED_BEATS * self.heartbeat_seconds:
            self.over = Parting("the shard fell silent")
        elif self._in_flight and now - self._in_flight[0].sent_at > STALLED_SECONDS:
            self.over = Parting("an ack is overdue")

    def wake_at(self, now: float) -> float:
        """Return when `check` and `take` are due again, unless a frame or a delta comes first."""
        if self.welcome is None:
            return self._last_heard + WELCOME_SECONDS
        times = [
            self._last_sent + self._beat_seconds,
            self._last_heard + MISSED_BEATS * self.heartbeat_seconds,
        ]
        if self._pause_until > now:
            times.append(self._pause_until)
        if self._leave_by is not None:
            times.append(self._leave_by)
        if self._in_flight:
            times.append(self._in_flight[0].sent_at + STALLED_SECONDS)
        return min(times)

    @property
    def done(self) -> bool:
        """We said Bye because everything is acked."""
        return self.parted and self._parting is None and not self._in_flight

    def parting(self) -> Parting:
        """Return how it ended; without a reason of either side the connection broke."""
        return self.over or self._parting or Parting("the stream ended")

    @property
    def heartbeat_seconds(self) -> float:
        seconds = _seconds(self.welcome.heartbeat_interval) if self.welcome else 0.0
        return seconds or DEFAULT_HEARTBEAT_SECONDS

    @property
    def _beat_seconds(self) -> float:
        return BEAT_EARLY * self.heartbeat_seconds

    def _draw(self, least: Duration, most: Duration) -> float:
        return max(0.0, self._random.uniform(_seconds(least), _seconds(most)))


def _seconds(duration: Duration) -> float:
    return duration.ToTimedelta().total_seconds()
