"""Real households' boxes at shards that run: `python -m examples.boxes localhost:50051 …`.

They replay a week of viewings as fast as it is acked, and stay connected until Ctrl-C or SIGTERM.
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
    """Return every shard, as one of them knows them."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: shard_pb2_grpc.ShardServiceAsyncStub = shard_pb2_grpc.ShardServiceStub(channel)
        shards = (await stub.ListShards(shard_pb2.ListShardsRequest())).shards
    return {shard.shard_id: shard.address for shard in shards} or {0: address}


async def run(addresses: Sequence[str], households: int) -> None:
    """Fill the catalogue of these shards, let the households watch, and stay."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    material, shards = (
        await asyncio.to_thread(load_data, households),
        await read_shard_map(addresses[0]),
    )
    for each in addresses:
        async with OperatorClient.open(each) as operator:
            await operator.add_films(material.films, lambda _: None)
    with TemporaryDirectory(prefix="boxes-") as folder:
        opening = open_households(
            material.held_out, material.household_numbers, shards, Path(folder), material.catalogue
        )
        async with opening as (devices, _):
            replay = Replay(devices, material.watched, material.times, lambda: None)
            await replay.replay_until(len(replay))
            await replay.flush()
            print(f"{len(devices)} boxes have watched {len(replay)} films; Ctrl-C ends", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.boxes", description=__doc__)
    parser.add_argument(
        "addresses", nargs="+", help="every shard's, host:port; boxes go where its map sends them"
    )
    parser.add_argument("--households", type=int, default=200, help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        uvloop.run(run(arguments.addresses, arguments.households))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("the boxes are switched off")
