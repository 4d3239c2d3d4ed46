"""Whole sessions of a device: frames of a shard in any order, between writes and pauses."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from constellation.v1 import sync_pb2 as pb
from constellation_settop import Outbox
from constellation_settop.network.outcome import SessionHooks
from constellation_settop.network.session import DeviceSession
from tests.clients.samples import (
    ShardModel,
    make_global_update,
    make_learned_changes,
    make_pattern,
)
from tests.fuzz.shard_sessions import STEP

if TYPE_CHECKING:
    from collections.abc import Sequence

FRAME, LEARN, WAIT, LEAVE = range(4)
DEVICE_REFUSALS: Final = (DecodeError,)
"""What a device raises for frames: it ends a session, and raises nothing."""
_MAX_STEPS: Final = 32
_LARGEST_SEQ: Final = 2**62 + 2**21


def run_device_session(data: bytes) -> None:
    """Run one input with a device that has something to send."""
    with Outbox.open(":memory:") as outbox:
        outbox.append(make_learned_changes(1))
        random = Random(1)  # noqa: S311 - no secret
        session = DeviceSession(outbox, random, SessionHooks(), deltas_with_hello=len(data) % 2)
        now = 0.0
        session.start(now)
        for step in data.split(STEP)[:_MAX_STEPS]:
            for frame in session.take_frames(now):
                frame.SerializeToString()
            if not step:
                continue
            match step[0] % 4:
                case 0:
                    session.receive(pb.SyncResponse.FromString(step[1:]), now)
                case 1:
                    outbox.append(make_learned_changes(step[-1]))
                case 2:
                    now += step[-1]
                    session.check_timeouts(now)
                case 3:
                    session.leave(now, 1.0)
            assert session.next_wake_time(now) >= 0
        outcome = session.outcome()
        assert outcome.delay_seconds is None or 0 <= outcome.delay_seconds <= 3600
        assert outbox.next_seq <= _LARGEST_SEQ, "the numbers of deltas are used up"


def make_device_sessions() -> Sequence[bytes]:
    """Return what shards send, with every kind of frame."""
    model = ShardModel(cursor=0)

    def frame(message: pb.SyncResponse) -> bytes:
        return bytes([FRAME]) + message.SerializeToString()

    def join(*steps: bytes) -> bytes:
        return STEP.join(steps)

    opened = frame(model.make_welcome())
    ack = pb.SyncResponse()
    ack.delta_ack.through_seq, ack.delta_ack.expected_seq = 1, 2
    resync = pb.SyncResponse()
    resync.delta_ack.expected_seq, resync.delta_ack.full_resync = 1, True
    update = pb.SyncResponse(global_update=make_global_update([make_pattern(7)], 1))
    throttle, drain, redirect, failed = (pb.SyncResponse() for _ in range(4))
    throttle.throttle.delay_max.seconds = 3
    drain.drain.deadline.seconds = 3
    redirect.redirect.address = "other:1"
    failed.error.code, failed.error.message = 14, "away"
    learned, waited, left = bytes([LEARN, 3]), bytes([WAIT, 2]), bytes([LEAVE])
    return [
        join(opened, frame(ack), frame(pb.SyncResponse(bye=pb.Bye()))),
        join(opened, frame(update), learned, frame(ack), waited, left),
        join(opened, frame(resync), frame(resync), learned, frame(redirect)),
        join(opened, frame(throttle), waited, learned, frame(drain), frame(ack)),
        join(opened, frame(pb.SyncResponse(heartbeat=pb.Heartbeat())), waited, frame(failed)),
    ]
