"""A first television: it needs the address of a shard and a directory, and nothing else.

`python examples/first_television.py localhost:50051 data/television`
"""

from __future__ import annotations

import asyncio
import sys

from constellation_settop import Device, Feedback, View


async def main(address: str, data_dir: str) -> None:
    """Watch something, and see what is recommended before and after."""
    async with Device.open(address, data_dir=data_dir) as device:
        await device.wait_for_catalogue(30)  # only a new device waits: it copies the catalogue

        print("A new device:")
        choices = device.recommend(limit=3)
        for choice in choices:
            print(f"  {choice.content_id}: {choice.reason}")

        device.observe(View(choices[0].content_id, watch_percentage=0.95))
        device.feedback(choices[1].content_id, Feedback.DISLIKED)

        print("After one film that it liked, and one that it did not:")
        for choice in device.recommend(limit=3, exclude=[choices[2].content_id]):
            print(f"  {choice.content_id}: {choice.reason}")

        await device.flush(deadline_seconds=10)  # only to see it work; nothing needs it
        status = device.status()
        print(f"{status.catalogue_size} content items, {status.liked} liked, ", end="")
        print(f"{status.waiting_deltas} deltas wait")


asyncio.run(main(*sys.argv[1:3]))
