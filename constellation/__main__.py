"""The `constellation` program: one shard, its store, and calls to the shards of a fleet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from constellation.startup import prepare_process, require_server_packages

prepare_process()  # before anything else is imported
require_server_packages("constellation")

from constellation.cli.completion import add_completion
from constellation.cli.config import add_config
from constellation.cli.log_level import add_log_level
from constellation.cli.output import open_standard_output
from constellation.cli.parsing import Commands, make_parser
from constellation.cli.program import run_program
from constellation.commands.ca import add_ca
from constellation.commands.check import add_check
from constellation.commands.clusters import add_clusters
from constellation.commands.content import add_content
from constellation.commands.delete_device import add_delete_device
from constellation.commands.devices import add_devices
from constellation.commands.drain import add_drain
from constellation.commands.enrol_device import add_enrol_device
from constellation.commands.export import add_export
from constellation.commands.import_ import add_import
from constellation.commands.keys import add_keys
from constellation.commands.migrate import add_migrate
from constellation.commands.patterns import add_patterns
from constellation.commands.plot import add_plot
from constellation.commands.quarantine_device import add_quarantine_device
from constellation.commands.revoke_device import add_revoke_device
from constellation.commands.search import add_search
from constellation.commands.serve import add_serve
from constellation.commands.status import add_status
from constellation.commands.top import add_top
from constellation.commands.trends import add_trends
from constellation.config import ShardConfig
from constellation.shard_settings import to_identity

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` names, and return its exit code."""
    return run_program(build_parser(), argv)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = make_parser(
        "constellation",
        "Run and inspect shards, which let devices learn from each other.",
        ShardConfig,
    )
    commands = Commands(parser)
    add_serve(commands)
    add_check(commands)
    add_migrate(commands)
    add_export(commands)
    add_import(commands)
    add_status(commands)
    add_top(commands)
    add_devices(commands)
    add_delete_device(commands)
    add_quarantine_device(commands)
    add_enrol_device(commands)
    add_revoke_device(commands)
    add_patterns(commands)
    add_content(commands)
    add_search(commands)
    add_trends(commands)
    add_clusters(commands)
    add_plot(commands)
    add_drain(commands)
    add_keys(commands)
    add_ca(commands)
    add_log_level(commands, fleet=True)
    add_config(commands, to_identity)
    add_completion(commands, build_parser)
    return parser


def run_as_program() -> None:
    """Run the command line of this process, and exit."""
    open_standard_output()
    sys.exit(main())


if __name__ == "__main__":
    run_as_program()
