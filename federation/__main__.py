"""The `federation` program: rounds over a fleet of shards, and calls to running federations."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from constellation.startup import prepare_process, require_server_packages

prepare_process()  # before anything else is imported
require_server_packages("federation")

from constellation.cli.completion import add_completion
from constellation.cli.config import add_config
from constellation.cli.log_level import add_log_level
from constellation.cli.output import open_standard_output
from constellation.cli.parsing import Commands, make_parser
from constellation.cli.program import run_program
from federation.commands.privacy import add_privacy
from federation.commands.round import add_round
from federation.commands.rounds import add_rounds
from federation.commands.run import add_run
from federation.commands.status import add_status
from federation.config import FederationConfig
from federation.server import check_config

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names, and return its exit code."""
    return run_program(build_parser(), argv)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = make_parser(
        "federation",
        "Merge what the shards of a fleet have learned, and publish the result to them.",
        FederationConfig,
    )
    commands = Commands(parser)
    add_run(commands)
    add_status(commands)
    add_rounds(commands)
    add_round(commands)
    add_privacy(commands)
    add_log_level(commands, fleet=False)
    add_config(commands, check_config)
    add_completion(commands, build_parser)
    return parser


def run_as_program() -> None:
    """Run the command line of this process, and exit."""
    open_standard_output()
    sys.exit(main())


if __name__ == "__main__":
    run_as_program()
