"""Devices of real households, for shards that are running.

`python -m examples.devices localhost:50051 …` replays a week of viewings as fast as the shards ack
them. The devices then stay connected until Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import grpc
import uvloop

from constellation.v1 import shard_pb2, shard_pb2_grpc
from examples.demo.data import load_data
from examples.demo.households import Replay, open_households
from examples.demo.operator_client import OperatorClient

if TYPE_CHECKING:
    from collections.abc import Sequence


async def read_shard_map(address: str) -> dict[int, str]:
    """Return the shard map that one shard gives, or that shard alone when it gives none."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: shard_pb2_grpc.ShardServiceAsyncStub = shard_pb2_grpc.ShardServiceStub(channel)
        shards = (await stub.ListShards(shard_pb2.ListShardsRequest())).shards
    return {shard.shard_id: shard.address for shard in shards} or {0: address}


async def run(addresses: Sequence[str], households: int) -> None:
    """Fill the catalogues of these shards, replay all viewings, and stay connected."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    data, shards = (
        await asyncio.to_thread(load_data, households),
        await read_shard_map(addresses[0]),
    )
    for each in addresses:
        async with OperatorClient.open(each) as operator:
            await operator.add_films(data.films, lambda _: None)
    with TemporaryDirectory(prefix="devices-") as folder:
        opening = open_households(
            data.held_out, data.household_numbers, shards, Path(folder), data.catalogue
        )
        async with opening as (devices, _):
            replay = Replay(devices, data.watched, data.times, lambda: None)
            await replay.replay_until(len(replay))
            await replay.flush()
            print(
                f"{len(devices)} televisions have watched {len(replay)} films; Ctrl-C ends",
                flush=True,
            )
            await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.devices", description=__doc__)
    parser.add_argument(
        "addresses",
        nargs="+",
        help="host:port of every shard; each device connects to the one that its shard map names",
    )
    parser.add_argument(
        "--households",
        type=int,
        default=200,
        help="how many households watch; default: %(default)s",
    )
    arguments = parser.parse_args()
    try:
        uvloop.run(run(arguments.addresses, arguments.households))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("The televisions are switched off")
