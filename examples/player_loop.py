"""A device inside a player that has its own loop and threads: the SDK gets a thread for itself.

`python examples/player_loop.py localhost:50051 data/television`
"""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import Future

from constellation_settop import Device, View

opened: Future[tuple[Device, asyncio.AbstractEventLoop]] = Future()
closing = threading.Event()


async def keep_open(address: str, data_dir: str) -> None:
    """Keep the device open, in the SDK's thread, until the player closes."""
    async with Device.open(address, data_dir=data_dir) as device:
        await device.wait_for_catalogue(30)
        opened.set_result((device, asyncio.get_running_loop()))
        await asyncio.to_thread(closing.wait)


def play(device: Device, loop: asyncio.AbstractEventLoop) -> None:
    """Run the player: it may call the device only inside the device's loop."""

    async def choose() -> list[str]:
        return [choice.content_id for choice in device.recommend(limit=3)]

    for _ in range(3):
        content_id, *_ = asyncio.run_coroutine_threadsafe(choose(), loop).result()
        print(f"playing {content_id}")
        loop.call_soon_threadsafe(device.observe, View(content_id, watch_percentage=0.9))


thread = threading.Thread(target=asyncio.run, args=[keep_open(*sys.argv[1:3])])
thread.start()
try:
    play(*opened.result(timeout=40))
finally:
    closing.set()
    thread.join()
