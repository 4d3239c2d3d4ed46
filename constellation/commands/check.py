"""`constellation check`: does what is stored agree with itself?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.cli.exit_codes import FAILURE, SUCCESS
from constellation.cli.printing import print_json
from constellation.core.loading import load_shard
from constellation.core.recovery import recover_shard
from constellation.server import to_identity, to_rules
from constellation.stores import open_reader, snapshot_files

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from constellation.config import ShardConfig
    from constellation.core.store import Totals


async def run_check(config: ShardConfig, options: Namespace) -> int:
    """Print what differs between rows, totals and index."""
    async with open_reader(config) as reader:
        problems = list(await reader.verify())
        if config.postgres_url is None:
            recovered = await recover_shard(
                reader,
                to_rules(config),
                snapshot_files(config),
                exact_limit=config.exact_limit,
                identity=to_identity(config),
            )
            table, more = recovered.table, recovered.problems
            indexed = len(recovered.index)
        else:  # its snapshots are a cache, and their shard may be serving
            loaded = await load_shard(reader, to_rules(config))
            table, more, indexed = loaded.table, loaded.problems, None
    problems += more
    totals = table.totals
    if options.json:
        print_json(
            {
                "damaged": bool(problems),
                "problems": problems,
                "devices": totals.devices,
                "patterns": totals.patterns,
                "indexed": indexed,
                "commit": totals.lsn,
            }
        )
    else:
        _print_report(problems, totals, indexed)
    return FAILURE if problems else SUCCESS


def _print_report(problems: Sequence[str], totals: Totals, indexed: int | None) -> None:
    for problem in problems:
        print(problem)
    index = "" if indexed is None else f", {indexed} in the index"
    print(
        f"{'DAMAGED' if problems else 'ok'}: {totals.devices} devices, "
        f"{totals.patterns} patterns{index}, commit {totals.lsn}"
    )
