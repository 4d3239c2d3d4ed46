"""`make demo`: real households and films; two real shards, one of them killed; a federation."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from constellation_settop import SettopError
from examples.demo.process import DemoError
from examples.demo.run import run
from examples.demo.screen import Screen
from examples.demo.stores import STORE_KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

PASSED, FAILED, INTERRUPTED = 0, 1, 130
HOUSEHOLDS = 400


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return 0 when everything that it checked holds."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--households", type=int, default=HOUSEHOLDS, help="default: %(default)s")
    parser.add_argument(
        "--store",
        choices=STORE_KINDS,
        default="sqlite",
        help="postgres starts a server of its own, unless POSTGRES_URL names a database that holds "
        "no shard yet; default: %(default)s",
    )
    parser.add_argument(
        "--into",
        type=Path,
        default=Path("build"),
        help="where demo-report.json and what the run leaves in demo/ go; default: %(default)s",
    )
    arguments = parser.parse_args(argv)
    if arguments.households < 1:
        parser.error("--households must be at least 1")
    screen = Screen()
    try:
        has_passed = uvloop.run(_run_until_stopped(screen, arguments))
    except (DemoError, SettopError, TimeoutError) as error:
        screen.print_line(f"[bold red]Failed:[/] {str(error) or 'it takes too long'}")
        return FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        screen.print_line("Interrupted; everything is stopped")
        return INTERRUPTED
    report, left = arguments.into / "demo-report.json", arguments.into / "demo"
    screen.print_line(f"{report} has the figures, {left}/ what servers and devices left")
    return PASSED if has_passed else FAILED


async def _run_until_stopped(screen: Screen, arguments: argparse.Namespace) -> bool:
    """Run the demo; SIGTERM ends it in order, as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(screen, arguments.into, arguments.households, arguments.store)
