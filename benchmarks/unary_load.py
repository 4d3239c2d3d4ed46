"""A load of unary calls on one server, in its own process.

`python -m benchmarks.unary_load PORT CALLS` keeps 64 calls open at once, of 512 bytes each, and
prints how many there were in a second.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any, Final

import grpc
import uvloop

METHOD: Final = "/constellation.v1.SyncService/Exchange"
_CONCURRENT: Final = 64
_CONNECTIONS: Final = 8
_MESSAGE: Final = bytes(512)


async def run(port: int, calls: int) -> float:
    """Make this many calls and return the calls per second."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(_CONNECTIONS)
    ]
    started = time.perf_counter()
    share = calls // _CONCURRENT
    await asyncio.gather(
        *(_call(channels[number % _CONNECTIONS], share) for number in range(_CONCURRENT))
    )
    seconds = time.perf_counter() - started
    for channel in channels:
        await channel.close()
    return share * _CONCURRENT / seconds


async def _call(channel: grpc.aio.Channel, calls: int) -> None:
    call: Any = channel.unary_unary(METHOD)
    for _ in range(calls):
        await call(_MESSAGE)


if __name__ == "__main__":
    print(uvloop.run(run(int(sys.argv[1]), int(sys.argv[2]))))
