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
from tests.polling import eventually
from tests.scenarios.processes import Serving, serving
from tests.scenarios.reconnects import Returns, watching
from tests.scenarios.sdk_devices import (
    Box,
    all_connected,
    boxes,
    boxes_of,
    deltas_in,
    flush,
    free_address,
    pushing,
    stats_of,
    stored_in,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path


BOXES = 500
EVERY_SECONDS = 2.0
"""Each box pushes this often."""
DRAIN_SECONDS = 4.0
RETURN_SECONDS = 10.0
"""What Drain allows a box, at most, before it comes back."""
WINDOW_SECONDS = 3.0
PEAK_TO_MEAN = 2.0
GONE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
"""How a question ends that a process cannot answer any more: CANCELLED, when it was on its way."""


@dataclass(frozen=True)
class Restart:
    """What was seen while one shard was restarted."""

    new: Serving
    status: int
    """How the old process ended."""
    applied: int
    """Deltas that the old process said it had applied, when it last answered."""
    survived: int
    """Deltas that it had stored, once it had ended."""
    away_seconds: float
    """From SIGTERM until the new process listened."""
    back_seconds: float
    """From SIGTERM until everybody was back."""
    returns: Returns

    @property
    def peak_to_mean(self) -> float:
        mean = len(self.returns.moments) / (DRAIN_SECONDS + RETURN_SECONDS - self.away_seconds)
        return self.returns.peak(WINDOW_SECONDS) / WINDOW_SECONDS / mean

    def __str__(self) -> str:
        return (
            f"{len(self.returns.moments)} returned, away for {self.away_seconds:.1f} s, all back "
            f"after {self.back_seconds:.1f} s, peak {self.returns.peak(WINDOW_SECONDS)} in "
            f"{WINDOW_SECONDS:g} s, {self.peak_to_mean:.2f} times the mean"
        )


@dataclass(frozen=True)
class Place:
    """Two shards at addresses that stay, and their stores."""

    folder: Path
    shards: dict[int, str]

    def data_dir(self, shard_id: int) -> Path:
        return self.folder / f"shard-{shard_id}"

    @asynccontextmanager
    async def serve(self, shard_id: int) -> AsyncIterator[Serving]:
        async with serving(
            self.data_dir(shard_id),
            shard_id=shard_id,
            shard_map=format_map(self.shards),
            grpc_addr=self.shards[shard_id],
            drain_seconds=DRAIN_SECONDS,
        ) as shard:
            yield shard


async def last_applied(address: str) -> int:
    """Ask a shard that drains for its count until it is gone, and return the last answer."""
    applied = 0
    try:
        while True:
            applied = (await stats_of(address)).deltas_applied
            await asyncio.sleep(0.02)
    except grpc.aio.AioRpcError as error:
        assert error.code() in GONE  # noqa: PT017 - the end of the loop
    return applied


async def restart(old: Serving, own: Sequence[Box], place: Place, stack: AsyncExitStack) -> Restart:
    """Let one shard end, start it again, and return once its boxes are all back."""
    shard_id = next(each for each, address in place.shards.items() if address == old.address)
    clock = asyncio.get_running_loop().time
    async with watching(own) as returns:
        began = clock()
        old.process.terminate()
        applied = await last_applied(old.address)
        status = (await old.ended()).status
        survived = deltas_in(await stored_in(place.data_dir(shard_id), own))
        new = await stack.enter_async_context(place.serve(shard_id))
        away_seconds = clock() - began
        await eventually(lambda: all_connected(own))
        back_seconds = clock() - began
    return Restart(new, status, applied, survived, away_seconds, back_seconds, returns)


async def test_a_rolling_restart_loses_nothing_and_brings_everybody_back_evenly(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path, {0: free_address(), 1: free_address()})
    async with AsyncExitStack() as stack:
        old = [await stack.enter_async_context(place.serve(each)) for each in place.shards]
        fleet = await stack.enter_async_context(
            boxes(list(place.shards.values()), BOXES, SyncSettings())
        )
        owned = [boxes_of(each, place.shards, fleet) for each in place.shards]
        await eventually(lambda: all_connected(fleet))

        async with pushing(fleet, EVERY_SECONDS):
            restarts = [
                await restart(shard, own, place, stack)
                for shard, own in zip(old, owned, strict=True)
            ]
        await flush(fleet)

        for shard_id, (seen, own) in enumerate(zip(restarts, owned, strict=True)):
            applied = (await stats_of(seen.new.address)).deltas_applied
            seen.new.process.terminate()
            assert (seen.status, (await seen.new.ended()).status) == (0, 0)
            found = await stored_in(place.data_dir(shard_id), own)
            assert found == [box.expected() for box in own]
            assert 0 < seen.applied <= seen.survived
            assert applied == deltas_in(found) - seen.survived
            assert seen.returns.problems == []
            assert len(seen.returns.moments) == len(own)
            assert seen.peak_to_mean < PEAK_TO_MEAN, str(seen)
