"""The `federation` command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from constellation.startup import prepare_process

prepare_process()  # before anything else is imported

from constellation.cli.completion import add_completion
from constellation.cli.config import add_config
from constellation.cli.log_level import add_log_level
from constellation.cli.parsing import Commands, make_parser
from constellation.cli.program import run_program
from constellation.config import load_config
from constellation.telemetry.logs import set_up_logs
from federation.commands.round import add_round
from federation.commands.rounds import add_rounds
from federation.commands.run import run_federation
from federation.commands.status import add_status
from federation.config import FederationConfig
from federation.server import check_config

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_program(make_commands(), argv)


def make_commands() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = make_parser("federation", "What lets the shards of a fleet learn from each other.")
    parser.set_defaults(settings=FederationConfig)
    commands = Commands(parser)
    commands.add(
        "run",
        _run_federation,
        "run a round every FEDERATION_INTERVAL_SECS until SIGTERM or SIGINT",
        examples=("",),
    )
    add_status(commands)
    add_rounds(commands)
    add_round(commands)
    add_log_level(commands, fleet=False)
    add_config(commands, check_config)
    add_completion(commands, make_commands)
    return parser


async def _run_federation(options: argparse.Namespace) -> int:
    config = load_config(FederationConfig)
    set_up_logs(config.log_level, region=config.region)
    return await run_federation(config, options)


def run_as_program() -> None:
    """Run as a program."""
    sys.exit(main())


if __name__ == "__main__":
    run_as_program()
