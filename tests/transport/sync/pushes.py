"""Deltas that wait for no answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.v1 import sync_pb2_grpc
from tests.sync_client import (
    make_delta_message,
    make_push,
)

if TYPE_CHECKING:
    import grpc

    from tests.deltas import PatternSpec


async def push_alone(
    channel: grpc.aio.Channel, device: int, upserts: list[PatternSpec], seq: int = 1
) -> None:
    """Push a delta of a device that has no stream; it is durable when this returns."""
    delta = make_delta_message(seq, upserts)
    await sync_pb2_grpc.SyncServiceStub(channel).Exchange(make_push(device, delta))
