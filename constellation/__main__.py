"""The `constellation` command."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from constellation.startup import prepare_process

prepare_process()  # before anything else is imported

from constellation.cli.completion import add_completion
from constellation.cli.config import add_config
from constellation.cli.log_level import add_log_level
from constellation.cli.parsing import Commands, add_json_flag, complete_file_names, make_parser
from constellation.cli.program import run_program
from constellation.commands.check import run_check
from constellation.commands.clusters import add_clusters
from constellation.commands.content import add_content
from constellation.commands.devices import add_devices
from constellation.commands.drain import add_drain
from constellation.commands.export import run_export
from constellation.commands.import_ import run_import
from constellation.commands.migrate import run_migrate
from constellation.commands.patterns import add_patterns
from constellation.commands.plot import add_plot
from constellation.commands.search import add_search
from constellation.commands.serve import run_serve
from constellation.commands.status import add_status
from constellation.commands.top import add_top
from constellation.commands.trends import add_trends
from constellation.config import ShardConfig, load_config
from constellation.server import to_identity
from constellation.telemetry.logs import set_up_logs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Coroutine, Sequence

    RunLocally = Callable[[ShardConfig, argparse.Namespace], Coroutine[None, None, int]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_program(build_parser(), argv)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = make_parser(
        "constellation", "The shard that lets televisions learn from each other, and its fleet."
    )
    parser.set_defaults(settings=ShardConfig)
    commands = Commands(parser)
    _add_local_commands(commands)
    add_status(commands)
    add_top(commands)
    add_devices(commands)
    add_patterns(commands)
    add_content(commands)
    add_search(commands)
    add_trends(commands)
    add_clusters(commands)
    add_plot(commands)
    add_drain(commands)
    add_log_level(commands, fleet=True)
    add_config(commands, to_identity)
    add_completion(commands, build_parser)
    return parser


def _add_local_commands(commands: Commands) -> None:
    """Add what works on this machine's own store."""

    def add(name: str, run: RunLocally, text: str, *examples: str) -> argparse.ArgumentParser:
        return commands.add(name, partial(_run_with_config, run), text, examples=examples)

    add("serve", run_serve, "run one shard until SIGTERM or SIGINT, then drain it", "")
    add_json_flag(
        add("check", run_check, "verify that what a shard has stored agrees with itself", "")
    )
    migrate_parser = add(
        "migrate", run_migrate, "bring the schema of POSTGRES_URL up to date", "--status", ""
    )
    add_json_flag(migrate_parser)
    mode = migrate_parser.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="print the SQL, and change nothing")
    mode.add_argument("--status", action="store_true", help="list what is applied and what missing")
    export_parser = add(
        "export", run_export, "write all that a shard has stored, as JSON Lines", "shard-0.jsonl"
    )
    complete_file_names(
        export_parser.add_argument("file", metavar="FILE", help='where to; "-" is standard output')
    )
    add_json_flag(export_parser)
    import_parser = add("import", run_import, "fill an empty store from an export", "shard-0.jsonl")
    complete_file_names(
        import_parser.add_argument("file", metavar="FILE", help="what `constellation export` wrote")
    )
    add_json_flag(import_parser)


async def _run_with_config(run: RunLocally, options: argparse.Namespace) -> int:
    """Run what needs every setting; it logs, too."""
    config = load_config(ShardConfig)
    set_up_logs(config.log_level, shard_id=config.shard_id, region=config.region)
    return await run(config, options)


def run_as_program() -> None:
    """Run as a program."""
    sys.exit(main())


if __name__ == "__main__":
    run_as_program()
