"""A rolling restart of two shards while 500 devices keep pushing loses nothing.

The devices also have to reconnect evenly. A device reconnects after a random delay from 0 to
RETURN_SECONDS after its Drain, and the Drains are spread over DRAIN_SECONDS. So every device has
tried after the sum of both. No device can connect before the new process listens. The mean rate is
therefore the number of devices, divided by the time from that moment until the last possible delay.
It is the lowest rate at which all devices can reconnect in time, and does not depend on when they
really reconnect. If all devices came at once, the peak would be more than 2.5 times the mean.
Devices that tried too early back off and come in addition to the others, which causes the peak.

The peak is counted in windows of 3 seconds. If 60 % of 250 devices reconnect in such a window, the
standard deviation is 8 devices (binomial), which is 5 % of the count. In windows of 1 second, it
would be 12 %, and chance alone would exceed the limit.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from constellation.placement import format_map
from constellation_settop import SyncSettings
from testing.ports import find_free_address
from tests.polling import wait_until
from tests.scenarios.processes import ShardProcess, run_shard_process
from tests.scenarios.reconnects import Reconnects, watch_reconnects
from tests.scenarios.sdk_devices import (
    SdkDevice,
    are_all_connected,
    count_deltas,
    fetch_stats,
    flush_all,
    open_devices,
    push_continuously,
    read_stored,
    select_devices,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path


DEVICE_COUNT = 500
PUSH_INTERVAL_SECONDS = 2.0
"""How often each device pushes a delta."""
DRAIN_SECONDS = 4.0
RETURN_SECONDS = 10.0
"""The longest delay that Drain allows before a device reconnects."""
WINDOW_SECONDS = 3.0
PEAK_TO_MEAN = 2.0
UNAVAILABLE_CODES = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
"""How a call to a process that has ended fails; CANCELLED if it was already in progress."""


@dataclass(frozen=True)
class RestartResult:
    """What was seen while one shard was restarted."""

    new_process: ShardProcess
    exit_status: int
    """How the old process ended."""
    applied_deltas: int
    """Deltas that the old process reported as applied in its last answer."""
    surviving_deltas: int
    """Deltas that the old process had stored when it had ended."""
    unavailable_seconds: float
    """The time from SIGTERM until the new process listened."""
    recovery_seconds: float
    """The time from SIGTERM until all devices had reconnected."""
    reconnects: Reconnects

    @property
    def peak_to_mean(self) -> float:
        mean = len(self.reconnects.reconnected_at) / (
            DRAIN_SECONDS + RETURN_SECONDS - self.unavailable_seconds
        )
        return self.reconnects.find_peak(WINDOW_SECONDS) / WINDOW_SECONDS / mean

    def __str__(self) -> str:
        return (
            f"{len(self.reconnects.reconnected_at)} devices reconnected; "
            f"unavailable for {self.unavailable_seconds:.1f} s; "
            f"all connected after {self.recovery_seconds:.1f} s; "
            f"peak {self.reconnects.find_peak(WINDOW_SECONDS)} in {WINDOW_SECONDS:g} s, "
            f"which is {self.peak_to_mean:.2f} times the mean"
        )


@dataclass(frozen=True)
class ShardPair:
    """The fixed addresses and the data directories of two shards."""

    folder: Path
    shards: dict[int, str]

    def data_dir(self, shard_id: int) -> Path:
        return self.folder / f"shard-{shard_id}"

    @asynccontextmanager
    async def run_shard(self, shard_id: int) -> AsyncIterator[ShardProcess]:
        async with run_shard_process(
            self.data_dir(shard_id),
            shard_id=shard_id,
            shard_map=format_map(self.shards),
            grpc_addr=self.shards[shard_id],
            drain_seconds=DRAIN_SECONDS,
        ) as shard:
            yield shard


async def read_last_applied(address: str) -> int:
    """Ask a draining shard for its applied deltas until it ends, and return the last answer."""
    applied = 0
    try:
        while True:
            applied = (await fetch_stats(address)).deltas_applied
            await asyncio.sleep(0.02)
    except grpc.aio.AioRpcError as error:
        assert error.code() in UNAVAILABLE_CODES  # noqa: PT017 - ends the loop
    return applied


async def restart_shard(
    old: ShardProcess, own: Sequence[SdkDevice], pair: ShardPair, stack: AsyncExitStack
) -> RestartResult:
    """Restart one shard, and return once all its devices have reconnected."""
    shard_id = next(each for each, address in pair.shards.items() if address == old.address)
    clock = asyncio.get_running_loop().time
    async with watch_reconnects(own) as returns:
        began = clock()
        old.process.terminate()
        applied = await read_last_applied(old.address)
        status = (await old.wait_for_exit()).status
        survived = count_deltas(await read_stored(pair.data_dir(shard_id), shard_id, own))
        new = await stack.enter_async_context(pair.run_shard(shard_id))
        away_seconds = clock() - began
        await wait_until(lambda: are_all_connected(own))
        back_seconds = clock() - began
    return RestartResult(new, status, applied, survived, away_seconds, back_seconds, returns)


async def test_a_rolling_restart_loses_nothing_and_devices_reconnect_evenly(
    tmp_path: Path,
) -> None:
    pair = ShardPair(tmp_path, {0: find_free_address(), 1: find_free_address()})
    async with AsyncExitStack() as stack:
        old = [await stack.enter_async_context(pair.run_shard(each)) for each in pair.shards]
        fleet = await stack.enter_async_context(
            open_devices(list(pair.shards.values()), DEVICE_COUNT, SyncSettings())
        )
        owned = [select_devices(each, pair.shards, fleet) for each in pair.shards]
        await wait_until(lambda: are_all_connected(fleet))

        async with push_continuously(fleet, PUSH_INTERVAL_SECONDS):
            restarts = [
                await restart_shard(shard, own, pair, stack)
                for shard, own in zip(old, owned, strict=True)
            ]
        await flush_all(fleet)

        for shard_id, (seen, own) in enumerate(zip(restarts, owned, strict=True)):
            applied = (await fetch_stats(seen.new_process.address)).deltas_applied
            seen.new_process.process.terminate()
            assert (seen.exit_status, (await seen.new_process.wait_for_exit()).status) == (0, 0)
            found = await read_stored(pair.data_dir(shard_id), shard_id, own)
            assert found == [device.expected_state() for device in own]
            assert 0 < seen.applied_deltas <= seen.surviving_deltas
            assert applied == count_deltas(found) - seen.surviving_deltas
            assert seen.reconnects.problems == []
            assert len(seen.reconnects.reconnected_at) == len(own)
            assert seen.peak_to_mean < PEAK_TO_MEAN, str(seen)
