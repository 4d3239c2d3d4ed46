"""The command line of `make demo`."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from constellation_settop import SettopError
from examples.demo.process import DemoError
from examples.demo.run import TIMEOUT_SECONDS, run
from examples.demo.screen import Screen
from examples.demo.stores import STORE_KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

PASSED, FAILED, INTERRUPTED = 0, 1, 130
"""Exit codes."""
HOUSEHOLDS = 400
_DESCRIPTION = """Run a whole system on real viewing data: households that watch films, two shards,
one of which is killed, and a federation. Then check that no delta was lost or applied twice."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return 0 when every check passes, 1 when one fails, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=_DESCRIPTION)
    parser.add_argument(
        "--households",
        type=int,
        default=HOUSEHOLDS,
        help="how many households watch; default: %(default)s",
    )
    parser.add_argument(
        "--store",
        choices=STORE_KINDS,
        default="sqlite",
        help="where servers keep data. POSTGRES_URL, if set, takes precedence and names a database "
        "without a shard; else postgres starts a server for this run. Default: %(default)s",
    )
    parser.add_argument(
        "--secure",
        action="store_true",
        help="with TLS, and a token for every device, operator and federation",
    )
    parser.add_argument(
        "--into",
        type=Path,
        default=Path("build"),
        help="folder for demo-report.json, and for the files of servers and devices in demo/; "
        "default: %(default)s",
    )
    arguments = parser.parse_args(argv)
    if arguments.households < 1:
        parser.error(f"--households must be at least 1, got {arguments.households}")
    screen = Screen()
    try:
        has_passed = uvloop.run(_run_until_stopped(screen, arguments))
    except (DemoError, SettopError, TimeoutError) as error:
        screen.print_line(
            f"[bold red]Failed:[/] {str(error) or f'not complete within {TIMEOUT_SECONDS:g} s'}"
        )
        return FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        screen.print_line("Interrupted; every server was stopped")
        return INTERRUPTED
    report, left = arguments.into / "demo-report.json", arguments.into / "demo"
    screen.print_line(f"The figures are in {report}, the files of servers and devices in {left}/")
    return PASSED if has_passed else FAILED


async def _run_until_stopped(screen: Screen, arguments: argparse.Namespace) -> bool:
    """Run the demo. SIGTERM ends it in order, like Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(
        screen,
        arguments.into,
        arguments.households,
        arguments.store,
        is_secure=arguments.secure,
    )
