"""Two shards are restarted one after the other under five hundred boxes that keep pushing.

How even is the return? A box comes back after a random delay from 0 to RETURN_SECONDS, counted
from its Drain, and the Drains are spread over DRAIN_SECONDS: by then everybody has tried. Until the
new process listens nobody gets in, so the mean is everybody over the time from then to the last
such delay: the lowest rate at which all could be back in time. It does not depend on when they
came, so a herd cannot hide in it: all at once would be over 2.5 times the mean. What came too early
backs off and comes on top, which makes the peak.

The peak is counted in windows of 3 seconds. 250 boxes of which 60 % come in such a window vary by 8
(binomial), 5 % of the count; in windows of 1 second it is 12 %, and chance alone would cross the
bound.
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
"""Each box pushes this often."""
DRAIN_SECONDS = 4.0
RETURN_SECONDS = 10.0
"""What Drain allows a box, at most, before it comes back."""
WINDOW_SECONDS = 3.0
PEAK_TO_MEAN = 2.0
UNAVAILABLE_CODES = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
"""How a question ends that a process cannot answer any more: CANCELLED, when it was on its way."""


@dataclass(frozen=True)
class RestartResult:
    """What was seen while one shard was restarted."""

    new_process: ShardProcess
    exit_status: int
    """How the old process ended."""
    applied_deltas: int
    """Deltas that the old process said it had applied, when it last answered."""
    surviving_deltas: int
    """Deltas that it had stored, once it had ended."""
    unavailable_seconds: float
    """From SIGTERM until the new process listened."""
    recovery_seconds: float
    """From SIGTERM until everybody was back."""
    reconnects: Reconnects

    @property
    def peak_to_mean(self) -> float:
        mean = len(self.reconnects.reconnected_at) / (
            DRAIN_SECONDS + RETURN_SECONDS - self.unavailable_seconds
        )
        return self.reconnects.find_peak(WINDOW_SECONDS) / WINDOW_SECONDS / mean

    def __str__(self) -> str:
        return (
            f"{len(self.reconnects.reconnected_at)} returned, away for {self.unavailable_seconds:.1f} s, all back "
            f"after {self.recovery_seconds:.1f} s, peak {self.reconnects.find_peak(WINDOW_SECONDS)} in "
            f"{WINDOW_SECONDS:g} s, {self.peak_to_mean:.2f} times the mean"
        )


@dataclass(frozen=True)
class ShardPair:
    """Two shards at addresses that stay, and their stores."""

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
    """Ask a shard that drains for its count until it is gone, and return the last answer."""
    applied = 0
    try:
        while True:
            applied = (await fetch_stats(address)).deltas_applied
            await asyncio.sleep(0.02)
    except grpc.aio.AioRpcError as error:
        assert error.code() in UNAVAILABLE_CODES  # noqa: PT017 - the end of the loop
    return applied


async def restart_shard(
    old: ShardProcess, own: Sequence[SdkDevice], pair: ShardPair, stack: AsyncExitStack
) -> RestartResult:
    """Let one shard end, start it again, and return once its boxes are all back."""
    shard_id = next(each for each, address in pair.shards.items() if address == old.address)
    clock = asyncio.get_running_loop().time
    async with watch_reconnects(own) as returns:
        began = clock()
        old.process.terminate()
        applied = await read_last_applied(old.address)
        status = (await old.wait_for_exit()).status
        survived = count_deltas(await read_stored(pair.data_dir(shard_id), own))
        new = await stack.enter_async_context(pair.run_shard(shard_id))
        away_seconds = clock() - began
        await wait_until(lambda: are_all_connected(own))
        back_seconds = clock() - began
    return RestartResult(new, status, applied, survived, away_seconds, back_seconds, returns)


async def test_a_rolling_restart_loses_nothing_and_brings_everybody_back_evenly(
    tmp_path: Path,
) -> None:
    place = ShardPair(tmp_path, {0: find_free_address(), 1: find_free_address()})
    async with AsyncExitStack() as stack:
        old = [await stack.enter_async_context(place.run_shard(each)) for each in place.shards]
        fleet = await stack.enter_async_context(
            open_devices(list(place.shards.values()), DEVICE_COUNT, SyncSettings())
        )
        owned = [select_devices(each, place.shards, fleet) for each in place.shards]
        await wait_until(lambda: are_all_connected(fleet))

        async with push_continuously(fleet, PUSH_INTERVAL_SECONDS):
            restarts = [
                await restart_shard(shard, own, place, stack)
                for shard, own in zip(old, owned, strict=True)
            ]
        await flush_all(fleet)

        for shard_id, (seen, own) in enumerate(zip(restarts, owned, strict=True)):
            applied = (await fetch_stats(seen.new_process.address)).deltas_applied
            seen.new_process.process.terminate()
            assert (seen.exit_status, (await seen.new_process.wait_for_exit()).status) == (0, 0)
            found = await read_stored(place.data_dir(shard_id), own)
            assert found == [box.expected_state() for box in own]
            assert 0 < seen.applied_deltas <= seen.surviving_deltas
            assert applied == count_deltas(found) - seen.surviving_deltas
            assert seen.reconnects.problems == []
            assert len(seen.reconnects.reconnected_at) == len(own)
            assert seen.peak_to_mean < PEAK_TO_MEAN, str(seen)
