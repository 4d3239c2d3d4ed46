"""`constellation check`: does what is stored agree with itself?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.commands.status import DONE, FAILED
from constellation.core.loading import load
from constellation.core.recovery import recover
from constellation.server import identity_of, rules_of
from constellation.stores import open_reader, snapshot_files

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.config import ShardConfig


async def run_check(config: ShardConfig, _: Namespace) -> int:
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
            index = f", {len(recovered.index)} in the index"
        else:  # its snapshots are a cache, and their shard may be serving
            loaded = await load(reader, rules_of(config))
            table, more, index = loaded.table, loaded.problems, ""
    problems += more
    for problem in problems:
        print(problem)
    print(
        f"{'DAMAGED' if problems else 'ok'}: {table.totals.devices} devices, "
        f"{table.totals.patterns} patterns{index}, commit {table.totals.lsn}"
    )
    return FAILED if problems else DONE
