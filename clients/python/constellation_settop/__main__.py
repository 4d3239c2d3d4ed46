"""The `constellation-settop` command."""

from __future__ import annotations

import asyncio
import logging
import sys
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Final

from constellation_settop.errors import InvalidArgumentError, SettopError
from constellation_settop.simulator import command as simulate

if TYPE_CHECKING:
    from collections.abc import Sequence

FAILURE: Final = 1
USAGE_ERROR: Final = 2
INTERRUPTED: Final = 130


def make_parser() -> ArgumentParser:
    """Return the parser of the command line."""
    parser = ArgumentParser(prog="constellation-settop", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    simulating = commands.add_parser(
        "simulate",
        help="simulate many devices through one day",
        description="Simulate many devices through one day, on the real protocol.",
    )
    simulate.add_flags(simulating)
    simulating.set_defaults(run=simulate.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the command line names, and return its exit code."""
    options = make_parser().parse_args(argv)
    try:
        exit_code: int = asyncio.run(options.run(options))
    except InvalidArgumentError as error:
        return _report(error, USAGE_ERROR)
    except SettopError as error:
        return _report(error, FAILURE)
    except KeyboardInterrupt:
        return INTERRUPTED
    return exit_code


def _report(error: SettopError, exit_code: int) -> int:
    print(f"constellation-settop: {error}", file=sys.stderr)
    return exit_code


def run_as_program() -> None:
    """Run the command, and end the process with its exit code."""
    logging.getLogger("constellation_settop").setLevel(logging.ERROR)  # the summary counts
    sys.exit(main())


if __name__ == "__main__":
    run_as_program()
