"""A device that watches until it is killed: it prints each content item once it was observed."""

from __future__ import annotations

import asyncio
import sys
import time

from constellation_settop import Device, DeviceSettings, SyncSettings, View
from tests.clients.samples import make_catalogue

HOURS = 150
"""Each view is in an hour of its own, the first this many hours ago: signals are 4 an hour."""


async def main(address: str, data_dir: str, first: int, count: int, interval: float) -> None:
    settings = DeviceSettings(
        delta_interval_seconds=interval,
        sync=SyncSettings(backoff_base_seconds=0.02, backoff_cap_seconds=0.1),
    )
    catalogue = make_catalogue(themes=4, contents=40)
    began = time.time() - HOURS * 3600
    async with Device.open(
        address, data_dir=data_dir, catalogue=catalogue, settings=settings
    ) as device:
        for number in range(first, first + count):
            content_id = catalogue.content_ids[number]
            device.observe(View(content_id, 0.95, watched_at=began + number * 3600))
            await asyncio.sleep(0.01)  # the time until the next view
            print(content_id, flush=True)  # noqa: T201  # for the test that starts it
        await asyncio.Event().wait()


if __name__ == "__main__":
    address, data_dir, first, count, interval = sys.argv[1:6]
    asyncio.run(main(address, data_dir, int(first), int(count), float(interval)))
