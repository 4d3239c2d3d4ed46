"""`constellation check`: does what is stored agree with itself?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.cli.exit_codes import DONE, FAILED
from constellation.cli.printing import print_json
from constellation.core.loading import load
from constellation.core.recovery import recover
from constellation.server import identity_of, rules_of
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
            recovered = await recover(
                reader,
                rules_of(config),
                snapshot_files(config),
                exact_limit=config.exact_limit,
                identity=identity_of(config),
            )
            table, more = recovered.table, recovered.problems
            indexed = len(recovered.index)
        else:  # its snapshots are a cache, and their shard may be serving
            loaded = await load(reader, rules_of(config))
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
        _print(problems, totals, indexed)
    return FAILED if problems else DONE


def _print(problems: Sequence[str], totals: Totals, indexed: int | None) -> None:
    for problem in problems:
        print(problem)
    index = "" if indexed is None else f", {indexed} in the index"
    print(
        f"{'DAMAGED' if problems else 'ok'}: {totals.devices} devices, "
        f"{totals.patterns} patterns{index}, commit {totals.lsn}"
    )
