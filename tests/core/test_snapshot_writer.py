"""Snapshots are written at intervals and after a deletion, and one that fails ends nothing."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from constellation.storage.snapshots import IndexSnapshots
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id
from tests.polling import wait_until
from tests.sharing import share_patterns
from tests.transport.inbox_client import push_delta

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.server import RunningShard

EXACT = 100
DEVICES, PATTERNS = 3, 60


async def fill(shard: RunningShard) -> None:
    for device in range(DEVICES):
        patterns = [PatternSpec(n, direction=PATTERNS * device + n) for n in range(PATTERNS)]
        await push_delta(shard.manager, device, 1, patterns)
    await share_patterns(shard.manager)


def damage_snapshots(directory: Path) -> None:
    for path in directory.glob("*.snapshot"):
        path.write_bytes(b"damaged")


async def test_a_deletion_replaces_the_snapshot_long_before_the_next_is_due(tmp_path: Path) -> None:
    async with run_shard(
        data_dir=tmp_path, exact_limit=EXACT, k_anonymity=1, snapshot_seconds=3600.0
    ) as shard:
        await fill(shard)
        snapshots = IndexSnapshots(tmp_path, await shard.manager.store.read_secret())
        await shard.manager.snapshots.write(snapshots)
        before, _ = snapshots.find_newest() or (0, "")

        await shard.manager.delete_device(device_id(0))

        async def is_replaced() -> bool:
            newest, _ = snapshots.find_newest() or (0, "")
            return newest > before

        await wait_until(is_replaced)


async def test_an_exact_index_leaves_no_snapshot_that_nobody_can_use(tmp_path: Path) -> None:
    async with run_shard(data_dir=tmp_path, exact_limit=EXACT, k_anonymity=1) as shard:
        await fill(shard)
        snapshots = IndexSnapshots(tmp_path, await shard.manager.store.read_secret())
        await shard.manager.snapshots.write(snapshots)
    damage_snapshots(tmp_path)

    async with run_shard(data_dir=tmp_path, exact_limit=10 * EXACT, k_anonymity=1) as shard:
        await shard.manager.snapshots.write(snapshots)

        assert snapshots.find_newest() is None


async def test_a_snapshot_that_cannot_be_written_is_logged_and_the_shard_goes_on(
    tmp_path: Path,
) -> None:
    elsewhere = tmp_path / "gone"
    elsewhere.mkdir()
    async with run_shard(exact_limit=EXACT, k_anonymity=1) as shard:
        await fill(shard)
        shutil.rmtree(elsewhere)

        with capture_logs() as logs:
            await shard.manager.snapshots.write(IndexSnapshots(elsewhere, bytes(32)))

        (entry,) = [entry for entry in logs if entry["event"] == "snapshot_failed"]
        assert "gone" in entry["problem"]
        assert shard.manager.stats.snapshot_at is None
        await push_delta(shard.manager, 0, 2, [PatternSpec(1)])
