from __future__ import annotations

import struct
import zlib
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from constellation.core.recovery import check_index
from constellation.core.rows import TermKind
from constellation.errors import DamagedStoreError
from constellation.storage.snapshots import IndexSnapshots
from tests.conftest import run_shard
from tests.deltas import PatternSpec
from tests.sharing import share_patterns
from tests.transport.inbox_client import push_delta

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from constellation.core.shard import ShardManager
    from constellation.server import RunningShard

EXACT = 100
OUTER_HEADER_BYTES = 56
INNER_HEADER = struct.Struct("<4sIq")
"""Of the payload: magic, CRC-32 of what follows, and the number of rows."""


def _make_settings(tmp_path: Path) -> dict[str, Any]:
    return {"data_dir": tmp_path / "shard", "exact_limit": EXACT, "k_anonymity": 1}


async def _fill(shard: RunningShard, devices: int) -> None:
    for device in range(devices):
        patterns = [PatternSpec(number, direction=64 * device + number) for number in range(60)]
        await push_delta(shard.manager, device, 1, patterns)


def _require_complete(manager: ShardManager, patterns: int) -> None:
    assert manager.table.totals.patterns == patterns
    assert check_index(manager.table.groups, manager.index) == []
    holding = manager.table.find_patterns(np.arange(manager.table.totals.devices))
    assert len(holding.slots) == patterns


async def test_a_restart_finds_everything_again(tmp_path: Path) -> None:
    async with run_shard(**_make_settings(tmp_path)) as shard:
        await _fill(shard, 5)
        await push_delta(
            shard.manager, 0, 2, [PatternSpec(1, direction=5, contents=("film",))], [2, 3]
        )
        await share_patterns(shard.manager)
        before = shard.manager.table.totals

    async with run_shard(**_make_settings(tmp_path)) as shard:
        assert shard.manager.epoch == 2
        assert shard.manager.table.totals == before
        assert shard.manager.index.kind == "partitioned"
        _require_complete(shard.manager, 298)
        number = shard.manager.table.vocabulary.number(TermKind.CONTENT, "film")
        assert shard.manager.table.support.devices[number] == 1


async def test_a_snapshot_and_what_was_published_later_give_the_index(
    tmp_path: Path,
) -> None:
    async with run_shard(**_make_settings(tmp_path)) as shard:
        await _fill(shard, 4)
        await share_patterns(shard.manager)
        snapshots = IndexSnapshots(tmp_path / "shard", await shard.manager.store.read_secret())
        await shard.manager.snapshots.write(snapshots)
        taken_at, _ = snapshots.find_newest() or (0, "")
        await push_delta(shard.manager, 0, 2, [PatternSpec(7, direction=999)], [8, 9])
        await push_delta(shard.manager, 9, 1, [PatternSpec(1, direction=5)])
        await share_patterns(shard.manager)
        payload = (tmp_path / "shard" / f"index-{taken_at}.snapshot").read_bytes()
    for file in (tmp_path / "shard").glob("index-*"):
        file.unlink()
    (tmp_path / "shard" / f"index-{taken_at}.snapshot").write_bytes(payload)

    async with run_shard(**_make_settings(tmp_path)) as shard:
        _require_complete(shard.manager, 239)


async def test_a_damaged_snapshot_is_passed_over(tmp_path: Path) -> None:
    async with run_shard(**_make_settings(tmp_path)) as shard:
        await _fill(shard, 4)
        await share_patterns(shard.manager)
    snapshot = next((tmp_path / "shard").glob("index-*.snapshot"))
    data = bytearray(snapshot.read_bytes())
    data[len(data) // 2] ^= 1
    snapshot.write_bytes(data)

    async with run_shard(**_make_settings(tmp_path)) as shard:
        _require_complete(shard.manager, 240)


async def test_a_start_takes_no_changed_snapshot(tmp_path: Path) -> None:
    """With a checksum that anyone can compute, 115 of 200 changed snapshots were taken."""
    async with run_shard(**_make_settings(tmp_path)) as shard:
        await _fill(shard, 4)
        await share_patterns(shard.manager)
        secret = await shard.manager.store.read_secret()
    path = next((tmp_path / "shard").glob("index-*.snapshot"))
    sound, random = path.read_bytes(), Random(19)  # noqa: S311 - no secret
    snapshots = IndexSnapshots(tmp_path / "shard", secret)
    assert snapshots.read() is not None

    taken = 0
    for changed in _change(sound, random, 200):
        path.write_bytes(changed)
        taken += snapshots.read() is not None
    with capture_logs() as logs:
        async with run_shard(**_make_settings(tmp_path)) as shard:
            _require_complete(shard.manager, 240)

    assert taken == 0
    assert {"snapshot_unusable", "shard_started"} <= {entry["event"] for entry in logs}


def _change(sound: bytes, random: Random, count: int) -> Iterator[bytes]:
    """Return changed copies, each with the checksum inside the payload made right again."""
    for _ in range(count):
        body = bytearray(sound[OUTER_HEADER_BYTES:])
        for _ in range(random.randint(1, 4)):
            body[random.randrange(20, len(body))] ^= random.randrange(1, 256)
        magic, _, count = INNER_HEADER.unpack_from(body)
        INNER_HEADER.pack_into(body, 0, magic, zlib.crc32(body[INNER_HEADER.size :]), count)
        yield sound[:OUTER_HEADER_BYTES] + bytes(body)


async def test_a_database_behind_its_snapshot_is_refused(tmp_path: Path) -> None:
    async with run_shard(**_make_settings(tmp_path)) as shard:
        await _fill(shard, 1)
    IndexSnapshots(tmp_path / "shard", bytes(32)).write(10_000, b"later")
    snapshot = tmp_path / "shard" / "index-10000.snapshot"
    message = rf"{snapshot} was taken at 10000: commits were lost.* then delete {snapshot}"

    damaged = pytest.RaisesExc(DamagedStoreError, match=message)
    with pytest.RaisesGroup(damaged, flatten_subgroups=True):
        async with run_shard(**_make_settings(tmp_path)):
            pass
