"""What comes from one lot or one address is limited, and everybody else is served."""

from __future__ import annotations

from contextlib import AsyncExitStack
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.auth.principal import Role
from constellation.config import Networks
from constellation.core.ingest.stats import ShedReason, Stats
from constellation.errors import OriginLimitError
from constellation.transport.sync.origin_limits import (
    CallOrigin,
    OriginGuard,
    OriginLimits,
    SourceLimits,
)
from constellation.v1 import sync_pb2_grpc
from tests.auth.callers import Keys
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id
from tests.sync_client import (
    SyncStream,
    make_delta_message,
    make_hello,
    make_push,
    read_error_reason,
)

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK = Networks((ip_network("127.0.0.0/8"),))
HERE, THERE = CallOrigin(address="192.0.2.1"), CallOrigin(address="192.0.2.2")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make_guard(**limits: int) -> tuple[OriginGuard, Clock, Stats]:
    clock, stats = Clock(), Stats()
    source = SourceLimits(**limits)
    return OriginGuard(OriginLimits(source, source), stats, clock), clock, stats


def test_streams_of_one_source_are_limited_until_one_ends() -> None:
    guard, _, stats = make_guard(streams=2)
    for _ in range(2):
        guard.open_stream(HERE)

    with pytest.raises(OriginLimitError, match="2 streams of one address are open, and the most"):
        guard.open_stream(HERE)
    guard.open_stream(THERE)
    guard.close_stream(HERE)
    guard.open_stream(HERE)

    assert stats.shed[ShedReason.ADDRESS] == 1


def test_a_refused_stream_counts_for_none_of_its_sources() -> None:
    guard, _, stats = make_guard(streams=1)
    guard.open_stream(CallOrigin("lot", "192.0.2.1"))

    for _ in range(3):
        with pytest.raises(OriginLimitError, match="one address"):
            guard.open_stream(CallOrigin("another lot", "192.0.2.1"))
    guard.open_stream(CallOrigin("another lot", "192.0.2.2"))

    assert stats.shed[ShedReason.ADDRESS] == 3
    assert stats.shed[ShedReason.LOT] == 0


def test_connects_and_new_devices_are_limited_by_the_time() -> None:
    guard, clock, _ = make_guard(connects_per_minute=2, new_devices_per_hour=2)
    for _ in range(2):
        guard.open_stream(HERE)
        guard.close_stream(HERE)
        guard.count_new_device(HERE)

    with pytest.raises(OriginLimitError, match="too many connects in a minute from one address"):
        guard.open_stream(HERE)
    with pytest.raises(OriginLimitError, match="too many new devices in an hour"):
        guard.count_new_device(HERE)
    clock.now += 30.0
    guard.open_stream(HERE)
    with pytest.raises(OriginLimitError):
        guard.count_new_device(HERE)
    clock.now += 1770.0
    guard.count_new_device(HERE)


def test_an_unknown_source_and_a_limit_of_0_limit_nothing() -> None:
    guard, _, _ = make_guard(streams=1, connects_per_minute=1, new_devices_per_hour=1)
    for _ in range(5):
        guard.open_stream(CallOrigin())
        guard.count_new_device(CallOrigin())
    unlimited, _, _ = make_guard()
    for _ in range(5):
        unlimited.open_stream(HERE)
        unlimited.count_new_device(HERE)


async def push_from(channel: grpc.aio.Channel, number: int, address: str) -> Any:
    """Push a delta as a new device behind a proxy that names an address."""
    stub: Any = sync_pb2_grpc.SyncServiceStub(channel)
    return stub.Exchange(
        make_push(number, make_delta_message(1, [PatternSpec(1)])),
        metadata=(("x-forwarded-for", address),),
    )


async def test_one_address_cannot_fill_a_shard_with_made_up_devices() -> None:
    settings: Any = {"trusted_proxies": LOOPBACK, "max_new_devices_per_address": 8}
    async with (
        run_shard(**settings) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        refused = 0
        for number in range(50):
            call = await push_from(channel, number, "203.0.113.5")
            if await call.code() is not grpc.StatusCode.OK:
                refused += 1
                assert await read_error_reason(call) == "ORIGIN_LIMIT"
        known = await push_from(channel, 0, "203.0.113.5")
        honest = await push_from(channel, 99, "203.0.114.5")

        assert (await known.code(), await honest.code()) == (grpc.StatusCode.OK,) * 2
        assert refused == 42
        assert shard.manager.table.totals.devices == 9
        assert shard.manager.stats.shed[ShedReason.ADDRESS] == 42


async def test_one_address_gets_so_many_streams_and_others_get_theirs() -> None:
    settings: Any = {"trusted_proxies": LOOPBACK, "max_streams_per_address": 3}
    async with (
        run_shard(**settings) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
        AsyncExitStack() as stack,
    ):

        async def open_from(number: int, address: str) -> SyncStream:
            stub: Any = sync_pb2_grpc.SyncServiceStub(channel)
            call = stub.Sync(metadata=(("x-forwarded-for", f"198.51.100.1, {address}"),))
            stack.callback(call.cancel)
            stream = SyncStream(call)
            await stream.send(hello=make_hello(number))
            return stream

        for number in range(3):
            await (await open_from(number, "203.0.113.5")).expect("welcome")
        beyond = await open_from(3, "203.0.113.5")
        elsewhere = await open_from(4, "2001:db8::5")

        assert await beyond.wait_for_status() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await read_error_reason(beyond.call) == "ORIGIN_LIMIT"
        await elsewhere.expect("welcome")


async def test_one_lot_gets_so_many_new_devices(tmp_path: Path) -> None:
    keys = Keys.make(tmp_path)
    settings: Any = {"token_keys": keys.path, "max_new_devices_per_lot": 2}
    async with (
        run_shard(**settings) as shard,
        grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel,
    ):
        stub: Any = sync_pb2_grpc.SyncServiceStub(channel)
        codes = []
        for number, lot in enumerate(["A", "A", "A", "B"]):
            token = keys.issue(Role.DEVICE, subject=device_id(number).hex(), lot=lot)
            call = stub.Exchange(
                make_push(number, make_delta_message(1)),
                metadata=(("authorization", f"Bearer {token}"),),
            )
            codes.append(await call.code())

        ok, refused = grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED
        assert codes == [ok, ok, refused, ok]
        rows = shard.manager.table.devices[:3]
        assert rows["attested"].tolist() == [1, 1, 1]
        assert (rows["lot"][0] == rows["lot"][1]) != (rows["lot"][0] == rows["lot"][2])
