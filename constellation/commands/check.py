"""`constellation check`: verify that stored rows, totals and index are consistent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import FAILURE, SUCCESS, USAGE_ERROR
from constellation.cli.ids import parse_device_id
from constellation.cli.parsing import add_json_flag, complete_file_names
from constellation.cli.printing import print_json, print_line
from constellation.commands.device_traces import find_traces, print_traces
from constellation.commands.startup import configure_shard
from constellation.core.loading import load_shard
from constellation.core.recovery import REMEDY, recover_shard
from constellation.core.shared.verification import verify_embeddings, verify_names
from constellation.errors import DamagedStoreError
from constellation.shard_settings import to_identity, to_rules
from constellation.stores import open_reader, open_snapshots

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from constellation.cli.parsing import Commands
    from constellation.config import ShardConfig
    from constellation.core.store import StoreReader, Totals
    from constellation.core.table.shard_table import Table


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found."""

    problems: Sequence[str]
    totals: Totals
    indexed: int | None
    """Patterns in the index; None when no index was built."""


def add_check(commands: Commands) -> None:
    parser = commands.add(
        "check",
        run_check,
        "verify that a shard's stored rows, totals and index are consistent",
        details="With --device, prove that nothing of a device is left, or say what is. On SQLite "
        "the shard must be stopped.",
        examples=("", "--device 5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b --export shard.jsonl"),
    )
    parser.add_argument(
        "--device",
        type=parse_device_id,
        metavar="DEVICE_ID",
        help="look for this device instead, in the store, the index, its snapshot and the files of "
        "DATA_DIR; fail when anything of it is found",
    )
    complete_file_names(
        parser.add_argument(
            "--export",
            action="append",
            default=[],
            metavar="FILE",
            help="look for the device in this export as well; repeatable",
        )
    )
    add_json_flag(parser)


async def run_check(options: Namespace) -> int:
    """Print the inconsistencies between rows, totals and index; fail when there are any."""
    if options.export and options.device is None:
        raise CommandError("--export needs --device", USAGE_ERROR)
    config = configure_shard()
    if options.device is not None:
        return await _check_device(config, options)
    async with open_reader(config) as reader:
        report = await check_store(config, reader)
    if options.json:
        print_json(
            {
                "damaged": bool(report.problems),
                "problems": report.problems,
                "devices": report.totals.devices,
                "patterns": report.totals.patterns,
                "indexed": report.indexed,
                "commit": report.totals.lsn,
            }
        )
    else:
        _print_report(report)
    return FAILURE if report.problems else SUCCESS


async def _check_device(config: ShardConfig, options: Namespace) -> int:
    async with open_reader(config) as reader:
        traces = await find_traces(config, reader, options.device, options.export)
    if options.json:
        print_json(traces.to_json())
    else:
        print_traces(traces)
    return SUCCESS if traces.is_erased else FAILURE


async def check_store(config: ShardConfig, reader: StoreReader) -> CheckReport:
    """Read everything that a shard has stored, and compare it.

    On PostgreSQL no index is built: the snapshots there are only a cache, and their shard may be
    serving.
    """
    problems = list(await reader.verify())
    try:
        report = await _check_rows(config, reader)
    except DamagedStoreError:
        if not problems:
            raise
        return CheckReport(problems, await reader.read_totals(), None)
    return replace(report, problems=[*problems, *report.problems])


async def _check_rows(config: ShardConfig, reader: StoreReader) -> CheckReport:
    """Load a shard as `serve` does. Raises DamagedStoreError for what cannot be decoded."""
    if config.postgres_url is not None:
        loaded = await load_shard(reader, to_rules(config))
        problems = await _check_shared(reader, loaded.table, loaded.problems)
        return CheckReport(problems, loaded.table.totals, None)
    recovered = await recover_shard(
        reader,
        to_rules(config),
        await open_snapshots(config, reader),
        exact_limit=config.exact_limit,
        identity=to_identity(config),
    )
    problems = await _check_shared(reader, recovered.table, recovered.problems)
    return CheckReport(problems, recovered.table.totals, len(recovered.index))


async def _check_shared(reader: StoreReader, table: Table, problems: list[str]) -> list[str]:
    """Return the problems with those of shared patterns; when there are some, say where."""
    found = await asyncio.to_thread(verify_names, table)
    if found or problems:
        found += await verify_embeddings(reader, table)
    return [*problems, *found]


def _print_report(report: CheckReport) -> None:
    for problem in report.problems:
        print_line(problem)
    index = "" if report.indexed is None else f", {report.indexed} in the index"
    print_line(
        f"{'DAMAGED' if report.problems else 'ok'}: {report.totals.devices} devices, "
        f"{report.totals.patterns} patterns{index}, commit {report.totals.lsn}"
    )
    if report.problems:
        print_line(REMEDY)
