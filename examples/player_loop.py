"""A device inside an existing player: one with an asyncio loop of its own, and one with threads.

`python examples/player_loop.py localhost:50051 data/television`
"""

from __future__ import annotations

import asyncio
import sys
import threading

from constellation_settop import Device, ThreadedDevice, View


async def play_in_loop(address: str, data_dir: str) -> None:
    """Run in a player's own event loop: every call returns at once, or is awaited."""
    async with Device.open(address, data_dir=data_dir) as device:
        await device.wait_for_catalogue(30)
        content_id = device.recommend(limit=1)[0].content_id
        print(f"the loop plays {content_id}")
        device.observe(View(content_id, watch_percentage=0.9))


def play_in_thread(device: ThreadedDevice, room: str) -> None:
    """Run in any thread of a player: calls are made in the device's own thread."""
    content_id = device.profile(room).recommend(limit=1)[0].content_id
    print(f"a thread plays {content_id} in the {room}")
    device.profile(room).observe(View(content_id, watch_percentage=0.9))


if __name__ == "__main__":
    arguments = sys.argv[1], sys.argv[2]
    asyncio.run(play_in_loop(*arguments))

    with Device.start(arguments[0], data_dir=arguments[1]) as started:
        rooms = ("kitchen", "bedroom")
        threads = [threading.Thread(target=play_in_thread, args=(started, room)) for room in rooms]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        started.flush(deadline_seconds=10)
        print(f"{started.status().liked} content items liked, in {len(started.profiles)} profiles")
