"""The `federation` command."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

import grpc
import uvloop

from constellation.commands.status import ASKED_WRONGLY, FAILED
from constellation.config import load
from constellation.core.errors import ConfigError, ConstellationError
from constellation.telemetry.logs import set_up_logs
from constellation.transport.status import cause_of
from federation.commands import run_forever, run_round
from federation.config import FederationConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    Run = Callable[[FederationConfig, argparse.Namespace], Coroutine[None, None, int]]

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
        prog="federation",
        description="What lets the shards of a fleet learn from each other.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("run", run_forever, "run a round every FEDERATION_INTERVAL_SECS until SIGTERM or SIGINT")
    asking = add("round", run_round, "print the newest round of the federation at GRPC_ADDR")
    asking.add_argument("--once", action="store_true", help="run one round here and print that")
    return parser


def _run(run: Run, options: argparse.Namespace) -> int:
    try:
        config = load(FederationConfig)
        set_up_logs(config.log_level, region=config.region)
        status = uvloop.run(run(config, options))
    except* ConfigError as group:
        status = _say(cause_of(group), ASKED_WRONGLY)
    except* ConstellationError as group:
        status = _say(cause_of(group), FAILED)
    except* grpc.aio.AioRpcError as group:
        error = cause_of(group)
        assert isinstance(error, grpc.aio.AioRpcError)
        status = _say(f"{error.code().name}: {error.details()}", FAILED)
    return status


def _say(problem: object, status: int) -> int:
    print(f"federation: {problem}", file=sys.stderr)
    return status


def command() -> None:
    """Run as a program."""
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())


if __name__ == "__main__":
    command()
