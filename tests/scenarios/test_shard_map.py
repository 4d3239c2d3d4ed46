"""A shard that a wrong map would rob of its devices does not start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from constellation.encoding import Encoding, encode
from constellation.placement import find_owner
from constellation.v1 import patterns_pb2, shard_pb2
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from tests.deltas import PatternSpec, device_id, embedding
from tests.polling import wait_until
from tests.scenarios.processes import run_command, run_shard_process
from tests.sync_client import open_stream

if TYPE_CHECKING:
    from pathlib import Path

_SHARDS = {0: "a:1", 1: "b:1"}
_SHARD_MAP = "0=a:1,1=b:1"
_LARGER = {number: f"h{number}:1" for number in range(12)}
_LARGER_MAP = ",".join(f"{number}={address}" for number, address in _LARGER.items())
_SHARED_ALONE = {"k_anonymity": 1, "shared_patterns_seconds": 0.05}
"""Every pattern is shown as it is, and soon."""
_OWN = [
    number
    for number in range(60)
    if find_owner(device_id(number), _SHARDS) == 0 and find_owner(device_id(number), _LARGER) != 0
][:5]


async def push_own_devices(data_dir: Path) -> None:
    async with (
        run_shard_process(data_dir, shard_map=_SHARD_MAP) as shard,
        grpc.aio.insecure_channel(shard.address) as channel,
    ):
        for number in _OWN:
            async with open_stream(channel) as device:
                await device.open(number)
                await device.push(1, [PatternSpec(number, 1)])
        shard.process.terminate()
        await shard.wait_for_exit()


async def count_found(address: str) -> int:
    """Return how many patterns a search finds."""
    query = encode(embedding(1)[None], Encoding.FLOAT32)
    request = shard_pb2.SearchPatternsRequest(
        embeddings=query, encoding=patterns_pb2.ENCODING_FLOAT32
    )
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = ShardServiceStub(channel)
        return len((await stub.SearchPatterns(request)).similarities)


async def test_a_map_that_gives_away_most_devices_is_refused_with_the_counts_unless_confirmed(
    tmp_path: Path,
) -> None:
    await push_own_devices(tmp_path)

    async def is_all_found() -> bool:
        return await count_found(right.address) == len(_OWN)

    async with run_shard_process(tmp_path, shard_map=_SHARD_MAP, **_SHARED_ALONE) as right:
        await wait_until(is_all_found)

    wrong = {"shard_map": _LARGER_MAP, "grpc_addr": "127.0.0.1:0"}
    refused = await run_command("serve", data_dir=tmp_path, **wrong)

    assert refused.status == 2
    assert "SHARD_MAP gives 5 of the 5 devices that are stored to shards other than 0" in (
        refused.err
    )
    assert "Traceback" not in refused.err
    async with run_shard_process(
        tmp_path, accept_shard_map=1, **_SHARED_ALONE, **wrong
    ) as confirmed:
        assert await count_found(confirmed.address) == 0  # they left the index at once
