"""The `constellation` command."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

import structlog
import uvloop

from constellation.commands.check import run_check
from constellation.commands.migrate import run_migrate
from constellation.commands.serve import run_serve
from constellation.commands.status import ASKED_WRONGLY, FAILED
from constellation.commands.transfer import run_export, run_import
from constellation.config import ShardConfig, load
from constellation.core.errors import ConfigError, ConstellationError, FencedError
from constellation.telemetry.logs import set_up_logs
from constellation.transport.status import cause_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    Run = Callable[[ShardConfig, argparse.Namespace], Coroutine[None, None, int]]

log = structlog.get_logger(__name__)

_EPILOG = """\
Every setting is an environment variable: docs/operations.md lists them.
exit status: 0 done, 1 failed, 2 asked wrongly
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = _parser().parse_args(argv)
    return _run(options.run, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="constellation",
        description="The shard that lets televisions learn from each other.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("serve", run_serve, "run one shard until SIGTERM or SIGINT, then drain it")
    add("check", run_check, "verify that what a shard has stored agrees with itself")
    migrating = add("migrate", run_migrate, "bring the schema of POSTGRES_URL up to date")
    how = migrating.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="print the SQL, and change nothing")
    how.add_argument("--status", action="store_true", help="list what is applied and what missing")
    exporting = add("export", run_export, "write all that a shard has stored, as JSON Lines")
    exporting.add_argument("file", metavar="FILE", help='where to; "-" is standard output')
    importing = add("import", run_import, "fill an empty store from an export")
    importing.add_argument("file", metavar="FILE", help="what `constellation export` wrote")
    return parser


def _run(run: Run, options: argparse.Namespace) -> int:
    try:
        config = load(ShardConfig)
        set_up_logs(config.log_level, shard_id=config.shard_id, region=config.region)
        status = uvloop.run(run(config, options))
    except* ConfigError as group:
        print(f"constellation: {cause_of(group)}", file=sys.stderr)
        status = ASKED_WRONGLY
    except* FencedError as group:
        log.error("fenced", problem=str(cause_of(group)))  # noqa: TRY400 - no traceback: told whole
        print(f"constellation: FENCED: {cause_of(group)}", file=sys.stderr)
        status = FAILED
    except* ConstellationError as group:
        print(f"constellation: {cause_of(group)}", file=sys.stderr)
        status = FAILED
    return status


def command() -> None:
    """Run as a program."""
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())


if __name__ == "__main__":
    command()
