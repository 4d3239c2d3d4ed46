"""The `constellation` command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING

import uvloop

from constellation.config import ShardConfig, load
from constellation.core.errors import ConfigError, ConstellationError
from constellation.core.recovery import recover
from constellation.server import open_store, rules_of, serve, snapshot_files
from constellation.telemetry import set_up_logs
from constellation.transport.status import cause_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

DONE, FAILED, ASKED_WRONGLY = 0, 1, 2

_GC_THRESHOLDS = (50_000, 20, 100)
"""A shard's objects live as long as it does or for one delta: looking for cycles finds none."""

_EPILOG = """\
Every setting is an environment variable: docs/operations.md lists them.
exit status: 0 done, 1 failed, 2 asked wrongly
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="constellation",
        description="The shard that lets televisions learn from each other.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("serve", help="run one shard until SIGTERM or SIGINT, then drain it")
    commands.add_parser("check", help="verify that store, index and aggregates of DATA_DIR agree")
    command = parser.parse_args(argv).command
    run = {"serve": _serve, "check": _check}[command]
    return _run(run)


def _run(run: Callable[[ShardConfig], Coroutine[None, None, int]]) -> int:
    try:
        config = load(ShardConfig)
        set_up_logs(config.log_level, shard_id=config.shard_id, region=config.region)
        status = uvloop.run(run(config))
    except* ConfigError as group:
        print(f"constellation: {cause_of(group)}", file=sys.stderr)
        status = ASKED_WRONGLY
    except* ConstellationError as group:
        print(f"constellation: {cause_of(group)}", file=sys.stderr)
        status = FAILED
    return status


async def _serve(config: ShardConfig) -> int:
    """Serve until told to stop. A second signal ends the process at once."""
    gc.set_threshold(*_GC_THRESHOLDS)
    async with open_store(config) as store, serve(config, store) as shard:
        gc.freeze()
        loop = asyncio.get_running_loop()

        def stop() -> None:
            shard.drain_requested.set()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, os._exit, FAILED)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        if sys.stderr.isatty():
            print(f"constellation: serving on port {shard.port}; Ctrl-C drains", file=sys.stderr)
        await shard.drain_requested.wait()
    return DONE


async def _check(config: ShardConfig) -> int:
    """Print what differs between store, index and aggregates."""
    if config.data_dir is None:
        raise ConfigError("DATA_DIR is required: it names the shard to check")
    if not (config.data_dir / "shard.db").is_file():
        raise ConfigError(f"DATA_DIR: there is no shard in {config.data_dir}")
    async with open_store(config) as store:
        problems = list(await store.verify())
        recovered = await recover(
            store, rules_of(config), snapshot_files(config), exact_limit=config.exact_limit
        )
        problems += recovered.problems
        totals = recovered.table.totals
    for problem in problems:
        print(problem)
    print(
        f"{'DAMAGED' if problems else 'ok'}: {totals.devices} devices, {totals.patterns} patterns, "
        f"{len(recovered.index)} in the index, commit {totals.lsn}"
    )
    return FAILED if problems else DONE


def command() -> None:
    """Run as a program."""
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())


if __name__ == "__main__":
    command()
