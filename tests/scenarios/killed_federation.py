"""A federation that kills itself at one point of its round; a test runs it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from constellation.config_loader import load_config
from federation.config import FederationConfig
from federation.server import open_rounds

KILL_POINTS = ("begun", "pulled", "settled", "half_published", "published", "closed")


def kill_after(owner: Any, method: str) -> None:
    """Kill this process, without any cleanup, as soon as a method has done its work."""
    original = getattr(owner, method)

    async def run_and_kill(*arguments: Any) -> Any:
        await original(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, method, run_and_kill)


async def main(point: str) -> None:
    async with open_rounds(load_config(FederationConfig), None) as (rounds, publisher):
        await rounds.resume()
        journal, fleet = rounds._journal, rounds.fleet
        owner, method = {
            "begun": (journal, "begin_round"),
            "pulled": (fleet, "sweep"),
            "settled": (journal, "save_result"),
            "half_published": (fleet.clients[0], "publish"),
            "published": (publisher, "publish_pending"),
            "closed": (journal, "close_round"),
        }[point]
        kill_after(owner, method)
        await rounds.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
