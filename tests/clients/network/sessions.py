"""Sessions of a device with a model of a shard, without gRPC."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from constellation_settop.network.outcome import SessionHooks
from constellation_settop.network.session import DeviceSession

if TYPE_CHECKING:
    from constellation.v1 import patterns_pb2
    from constellation_settop import Outbox
    from tests.clients.samples import (
        ShardModel,
    )


def start_session(outbox: Outbox, **options: Any) -> DeviceSession:
    session = DeviceSession(outbox, Random(1), SessionHooks(), **options)  # noqa: S311  # no secret
    session.start(0.0)
    return session


def open_session(outbox: Outbox, shard: ShardModel, **options: Any) -> DeviceSession:
    session = start_session(outbox, **options)
    session.take_frames(0.0)
    session.receive(shard.make_welcome(), 0.0)
    return session


def take_deltas(session: DeviceSession, now: float = 0.0) -> list[patterns_pb2.Delta]:
    return [frame.delta for frame in session.take_frames(now) if frame.HasField("delta")]


def exchange_all(session: DeviceSession, shard: ShardModel, now: float = 0.0) -> None:
    """Deliver deltas and acks until the device has no more to send."""
    while sent_deltas := take_deltas(session, now):
        for delta in sent_deltas:
            session.receive(shard.apply_delta(delta), now)
