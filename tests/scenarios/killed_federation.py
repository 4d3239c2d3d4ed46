"""A federation that is killed at one point of its round, as by a power failure. Run by a test."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from constellation.config import load
from federation.config import FederationConfig
from federation.server import open_rounds

POINTS = ("begun", "pulled", "settled", "half_published", "published", "closed")


def die_after(owner: Any, method: str) -> None:
    """Let the process end, without a word, once a method has done its work."""
    original = getattr(owner, method)

    async def last(*arguments: Any) -> Any:
        await original(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, method, last)


async def main(point: str) -> None:
    async with open_rounds(load(FederationConfig)) as (rounds, publisher):
        await rounds.resume()
        journal, fleet = rounds._journal, rounds.fleet
        owner, method = {
            "begun": (journal, "begin"),
            "pulled": (fleet, "sweep"),
            "settled": (journal, "settle"),
            "half_published": (fleet.clients[0], "publish"),
            "published": (publisher, "offer"),
            "closed": (journal, "close"),
        }[point]
        die_after(owner, method)
        await rounds.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
