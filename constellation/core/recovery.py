"""Recovery: loads a stored shard and its index into memory, and proves that both agree."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import structlog

from constellation.core.index.pattern_index import PatternIndex
from constellation.core.ingest.recount import count_devices
from constellation.core.loading import load_shard
from constellation.core.table.loaded_groups import dissolve_uncounted
from constellation.core.table.standing import to_day
from constellation.errors import DamagedStoreError
from constellation.wall_clock import read_clock

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rules import Rules
    from constellation.core.store import StoreReader, Totals
    from constellation.core.table.groups import GroupTable
    from constellation.core.table.hourly import HourlyRing
    from constellation.core.table.ownership import ShardIdentity
    from constellation.core.table.shard_table import Table

log = structlog.get_logger(__name__)


class SnapshotFiles(Protocol):
    """Storage for snapshots of the index. Every method blocks."""

    def write(self, lsn: int, payload: NDArray[np.uint8] | bytes) -> None:
        """Store a snapshot durably, and delete older ones."""
        ...

    def read(self) -> tuple[int, NDArray[np.uint8]] | None:
        """Return the lsn and the payload of the newest intact snapshot; None without any."""
        ...

    def find_newest(self) -> tuple[int, str] | None:
        """Return the lsn and the location of the newest snapshot, intact or not; None without."""
        ...

    def discard(self) -> None:
        """Delete every snapshot."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class RecoveredShard:
    """A stored shard, loaded into memory."""

    table: Table
    ring: HourlyRing
    index: PatternIndex
    problems: list[str]
    """How stored rows, totals and index differ; empty when all is well."""
    secret: bytes
    """The store's secret: the key of pseudonyms."""


async def recover_shard(
    store: StoreReader,
    rules: Rules,
    snapshots: SnapshotFiles | None,
    *,
    exact_limit: int,
    may_be_behind: bool = False,
    identity: ShardIdentity | None = None,
) -> RecoveredShard:
    """Load a shard. Problems are listed, not raised, so that a check can show all of them.

    A store behind its snapshots has lost commits, which is a problem unless it `may_be_behind`. It
    may when the database is kept elsewhere, and was restored or failed over: devices notice lost
    commits by their acks, so the snapshots are discarded instead. Without an `identity`, the shard
    owns every device.
    """
    loaded = await load_shard(store, rules)
    table, problems = loaded.table, loaded.problems
    if identity is not None:
        await asyncio.to_thread(identity.mark_relocated, table)
    await asyncio.to_thread(count_devices, table, rules, to_day(read_clock()))
    await asyncio.to_thread(dissolve_uncounted, table)
    if ahead := _describe_lost_commits(table.totals, snapshots):
        if may_be_behind and snapshots is not None:
            log.warning("snapshots_discarded", reason=ahead)
            await asyncio.to_thread(snapshots.discard)
        else:
            problems.append(ahead)
    index = PatternIndex(table.groups.rows["codes"], exact_limit=exact_limit)
    await _fill_index(index, table.groups, snapshots)
    problems += check_index(table.groups, index)
    return RecoveredShard(table, loaded.ring, index, problems, await store.read_secret())


REMEDY: Final = (
    "Restore a backup, or move it away and start empty: the devices send their patterns again; "
    "add the catalogue again from its source"
)
"""What an operator can do about a damaged store."""


def require_sound(recovered: RecoveredShard, location: str) -> None:
    """Raise DamagedStoreError when recovery found problems."""
    if recovered.problems:
        raise DamagedStoreError(f"{location} is damaged: {'; '.join(recovered.problems)}. {REMEDY}")


def check_index(groups: GroupTable, index: PatternIndex) -> list[str]:
    """Return how the index differs from the shared patterns; empty when they agree."""
    shared = groups.find_published()
    missing = np.setdiff1d(shared, index.slots, assume_unique=True)
    surplus = np.setdiff1d(index.slots, shared, assume_unique=True)
    problems = []
    if len(missing):
        problems.append(f"the index lacks {len(missing)} patterns, the first in slot {missing[0]}")
    if len(surplus):
        problems.append(f"the index has {len(surplus)} too many, the first in slot {surplus[0]}")
    return problems


def _describe_lost_commits(stored: Totals, snapshots: SnapshotFiles | None) -> str:
    """Return how far the store is behind its newest snapshot; "" when it is not."""
    newest = snapshots.find_newest() if snapshots else None
    if newest is None or newest[0] <= stored.lsn:
        return ""
    lsn, location = newest
    return (
        f"the database ends at commit {stored.lsn}, but the index snapshot {location} was taken at "
        f"{lsn}: commits were lost, unless an older backup was restored on purpose; then delete "
        f"{location}"
    )


async def _fill_index(
    index: PatternIndex, groups: GroupTable, snapshots: SnapshotFiles | None
) -> None:
    """Restore the newest snapshot when it is of what is published, or build the index anew."""
    lsn, published = await _restore_snapshot(index, snapshots), groups.find_published()
    is_same = np.array_equal(index.slots, published)
    if not is_same or (groups.rows["lsn"][published] > lsn).any():
        await asyncio.to_thread(index.fill, published)


async def _restore_snapshot(index: PatternIndex, snapshots: SnapshotFiles | None) -> int:
    """Restore the newest snapshot; return the commit that it was taken at, -1 without any."""
    found = await asyncio.to_thread(snapshots.read) if snapshots else None
    if found is None:
        return -1
    lsn, payload = found
    try:
        await asyncio.to_thread(index.restore, payload)
    except ValueError as error:
        log.warning("snapshot_unusable", lsn=lsn, reason=str(error))
        return -1
    log.info("snapshot_restored", lsn=lsn, patterns=len(index))
    return lsn
