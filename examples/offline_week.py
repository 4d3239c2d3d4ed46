"""A television that is offline for a week: it learns and recommends all along.

`python examples/offline_week.py localhost:50051 data/television`, after `first_television.py` has
copied the catalogue to the same directory.
"""

from __future__ import annotations

import asyncio
import sys
import time

from constellation_settop import Device, UnreachableError, View

NOWHERE = "127.0.0.1:1"
DAY_SECONDS = 24 * 3600


async def main(address: str, data_dir: str) -> None:
    """Watch one film a day without a network; then connect."""
    week_ago = time.time() - 7 * DAY_SECONDS
    async with Device.open(NOWHERE, data_dir=data_dir) as device:
        for day in range(7):
            (choice,) = device.recommend(limit=1)
            device.observe(View(choice.content_id, 0.9, watched_at=week_ago + day * DAY_SECONDS))
            print(f"day {day + 1}: {choice.content_id}: {choice.reason}")
        try:
            await device.flush(deadline_seconds=0.5)  # writes to the file, then waits in vain
        except UnreachableError as error:
            print(f"offline: {error}")
        print(f"{device.status().waiting_deltas} delta waits in the file")

    async with Device.open(address, data_dir=data_dir) as device:
        await device.flush(deadline_seconds=10)
        print(f"online: {device.status().waiting_deltas} deltas wait")


asyncio.run(main(*sys.argv[1:3]))
