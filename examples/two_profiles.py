"""One television, two profiles: each has a taste and recommendations of its own.

`python examples/two_profiles.py localhost:50051 data/television`
"""

from __future__ import annotations

import asyncio
import sys

from constellation_settop import Device, Profile, View


def show(name: str, profile: Profile) -> None:
    """Print what a profile would be offered."""
    print(f"{name}:")
    for choice in profile.recommend(limit=3):
        print(f"  {choice.content_id}: {choice.reason}")


async def main(address: str, data_dir: str) -> None:
    """Let parents and children watch, then remove the children's profile, also at the shard."""
    async with Device.open(address, data_dir=data_dir) as device:
        await device.wait_for_catalogue(30)
        parents, kids = device.profile(), device.profile("kids")  # the first is the default one
        for choice in parents.recommend(limit=2):
            parents.observe(View(choice.content_id, watch_percentage=0.95))
        for choice in kids.recommend(limit=10)[-2:]:
            kids.observe(View(choice.content_id, watch_percentage=0.95))
        show("parents", parents)
        show("kids", kids)

        await device.flush(deadline_seconds=10)
        print(f"shared by {len(device.profiles)} profiles: {device.status().patterns} patterns")
        device.remove_profile("kids")
        await device.flush(deadline_seconds=10)
        print(f"shared by {len(device.profiles)} profile: {device.status().patterns} patterns")


asyncio.run(main(*sys.argv[1:3]))
