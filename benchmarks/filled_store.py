"""Stores filled with many patterns at once, and with the shared patterns that epochs form of them.

A store of each size is made once, on SQLite in build/, and copied from there.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import psycopg

from benchmarks.shard_process import BUILD, make_folder
from benchmarks.tastes import make_contents, make_named_patterns
from constellation.core.recovery import recover_shard, require_sound
from constellation.core.rows import (
    DEVICE,
    DIGEST_MODULUS,
    LIKED,
    MAX_LIKED,
    PATTERN,
    TermKind,
    digest_rows,
)
from constellation.core.rules import Rules
from constellation.core.shard import ShardManager
from constellation.core.store import CommitWrites, HourlyCounts, Totals
from constellation.core.table.hourly import digest_counts
from constellation.core.table.ownership import ShardIdentity
from constellation.storage.postgres.migrations import migrate
from constellation.storage.postgres.pool import PostgresSettings
from constellation.storage.postgres.store import open_postgres
from constellation.storage.sqlite.store import open_sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from benchmarks.tastes import NamedPatterns
    from constellation.core.rows import DeviceRows, LikedRows, PatternRows, Slots
    from constellation.core.store import PatternStore, StoreReader
    from constellation.storage.postgres.store import PostgresPatternStore

PER_DEVICE: Final = 8
"""Patterns of each device."""
_BLOCK: Final = 32_000
"""Patterns in one commit; a whole number of devices."""
GOOD_SHARE: Final = 0.7
"""Share of the patterns whose success rate is high enough for other devices to see them."""
_TRENDING_CONTENTS: Final = 200
"""Content items with signals in each hour, so that there are trends."""
_HOURS: Final = 48
"""Last hours that have signals."""
_CATALOGUE_BLOCK: Final = 1000
_FILL_TIMEOUT_SECONDS: Final = 120.0
"""Time limit of a statement; a commit of a full block may take long."""
_SOURCES: Final = (
    "benchmarks/filled_store.py",
    "benchmarks/tastes.py",
    "constellation/core/rows.py",
    "constellation/core/table/stored_groups.py",
    "constellation/storage/sqlite/schema.py",
    "testing/films-minilm-int8.npz",
)
"""What decides the rows of a filled store: when it changes, stores are made again."""


@contextmanager
def copy_filled_folder(count: int) -> Iterator[Path]:
    """Yield a data directory of a shard on SQLite with `count` patterns, which goes afterwards."""
    source = make_filled_folder(count)
    with make_folder() as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        yield folder


@asynccontextmanager
async def open_filled_postgres(url: str, count: int) -> AsyncIterator[PostgresPatternStore]:
    """Migrate an empty database, let it become a copy of a filled store, and open it."""
    folder = await asyncio.to_thread(make_filled_folder, count)
    settings = PostgresSettings(url=url, owner="benchmark", timeout_seconds=_FILL_TIMEOUT_SECONDS)
    await migrate(url, settings.dialect)
    async with open_postgres(settings) as store:
        async with open_sqlite(folder) as source:
            totals = await _copy_store(source, store)
        await asyncio.to_thread(_set_lsn, url, totals.lsn)
        yield store


def make_filled_folder(count: int) -> Path:
    """Return a data directory that holds a store with `count` patterns; make it when it is new.

    Use a copy of it: the next benchmark gets the same one.
    """
    folder = BUILD / f"filled-{count}-{_hash_sources()}"
    if not folder.exists():
        print(f"filling a store with {count:,} patterns, once", flush=True)
        for old in BUILD.glob(f"filled-{count}-*"):
            shutil.rmtree(old)
        BUILD.mkdir(exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=BUILD, prefix="filling-"))
        asyncio.run(_make_store(making, count))
        making.rename(folder)
    return folder


async def _make_store(folder: Path, count: int) -> None:
    async with open_sqlite(folder) as store:
        await fill_store(store, make_named_patterns(count))
        await share_patterns(store)


async def fill_store(store: PatternStore, patterns: NamedPatterns) -> None:
    """Fill an empty store with the films, devices with patterns, likes, and signals for trends.

    Consecutive patterns belong to the same device, PER_DEVICE to each.
    """
    manager = await open_core(store)
    contents = make_contents()
    for start in range(0, len(contents), _CATALOGUE_BLOCK):
        await manager.committer.add_contents(contents[start : start + _CATALOGUE_BLOCK])
    vocabulary = manager.table.vocabulary
    numbers = [0] + [vocabulary.number(TermKind.CONTENT, each.content_id) for each in contents]
    named = np.array(numbers, np.uint32)[patterns.films]
    random, totals, now = np.random.default_rng(1), await store.read_totals(), int(time.time())
    for start in range(0, len(named), _BLOCK):
        slots = np.arange(start, min(start + _BLOCK, len(named)))
        totals = replace(totals, lsn=totals.lsn + 1)
        rows = _make_patterns(slots, patterns, named, random, now)
        rows["lsn"] = totals.lsn
        devices = np.arange(totals.devices, slots[-1] // PER_DEVICE + 1)
        device_rows = _make_devices(len(devices), random, now)
        liked = _make_liked(slots, named, len(devices))
        totals = replace(
            totals,
            patterns=totals.patterns + len(rows),
            devices=totals.devices + len(devices),
            pattern_digest=_add(totals.pattern_digest, slots, rows),
            device_digest=_add(totals.device_digest, devices, device_rows),
            liked_digest=_add(totals.liked_digest, devices, liked),
        )
        writes = CommitWrites(
            totals,
            slots=slots,
            rows=rows,
            device_slots=devices,
            device_rows=device_rows,
            liked_devices=devices,
            liked_rows=liked,
        )
        await store.commit(manager.epoch, writes)
    await store.commit(manager.epoch, _make_signals(totals, now // 3600))


async def share_patterns(store: PatternStore) -> None:
    """Run the epoch that forms the groups of a filled store."""
    manager = await open_core(store)
    await manager.share_patterns(time.time())


async def open_core(store: PatternStore) -> ShardManager:
    """Return the core of a shard on a store, without anything that runs in the background."""
    epoch = await store.take_epoch()
    recovered = await recover_shard(store, Rules(), None, exact_limit=10**9)
    require_sound(recovered, "the filled store")
    return ShardManager(ShardIdentity(), Rules(), store, recovered, epoch=epoch)


def _make_patterns(
    slots: Slots, patterns: NamedPatterns, named: np.ndarray, random: np.random.Generator, now: int
) -> PatternRows:
    rows = np.zeros(len(slots), PATTERN)
    rows["device"] = slots // PER_DEVICE
    rows["success_rate"] = random.choice([0.9, 0.75], len(slots), p=[GOOD_SHARE, 1 - GOOD_SHARE])
    rows["sample_count"], rows["created_at"], rows["updated_at"] = 3, now, now
    rows["pattern_id"] = np.frombuffer(random.bytes(16 * len(slots)), "V16")
    rows["codes"] = patterns.codes[slots]
    rows["contents"][:, : named.shape[1]] = named[slots]
    return rows


def _make_devices(count: int, random: np.random.Generator, now: int) -> DeviceRows:
    devices = np.zeros(count, DEVICE)
    devices["device_id"] = np.frombuffer(random.bytes(16 * count), "V16")
    devices["incarnation"], devices["seq"], devices["synced_at"] = 1, 1, now
    return devices


def _make_liked(slots: Slots, named: np.ndarray, devices: int) -> LikedRows:
    """Return what each device liked: what its patterns name."""
    liked = np.zeros(devices, LIKED)
    width = PER_DEVICE * named.shape[1]
    flat = np.zeros(devices * width, np.uint32)
    flat[: len(slots) * named.shape[1]] = named[slots].ravel()
    contents = np.sort(flat.reshape(devices, width), axis=1)
    contents[:, 1:][contents[:, 1:] == contents[:, :-1]] = 0
    liked["contents"][:, :width] = -np.sort(-contents.astype(np.int64), axis=1)[:, :MAX_LIKED]
    return liked


def _add(digest: int, slots: Slots, rows: np.ndarray) -> int:
    return (digest + digest_rows(slots, rows)) % DIGEST_MODULUS


def _make_signals(totals: Totals, now_hour: int) -> CommitWrites:
    contents = np.arange(1, _TRENDING_CONTENTS + 1, dtype=np.uint32)
    hours = np.arange(now_hour - _HOURS + 1, now_hour + 1, dtype=np.uint32)
    counts = HourlyCounts(
        np.repeat(hours, _TRENDING_CONTENTS),
        np.full(_HOURS * _TRENDING_CONTENTS, TermKind.CONTENT, np.uint8),
        np.tile(contents, _HOURS),
        np.random.default_rng(2).poisson(20, _HOURS * _TRENDING_CONTENTS).astype(np.uint32) + 5,
    )
    after = replace(totals, lsn=totals.lsn + 1, count_digest=digest_counts(counts))
    return CommitWrites(after, counts=counts)


async def _copy_store(source: StoreReader, target: PatternStore) -> Totals:
    """Write everything of a store to an empty one, in a few commits; return its totals."""
    totals, epoch = await source.read_totals(), await target.take_epoch()
    count = await source.count_contents()
    contents, terms = await source.list_contents("", count), await source.read_terms()
    digest = await source.read_catalogue_digest()
    assert digest is not None
    await target.put_contents(epoch, contents, terms, digest)
    lsn = 0
    async for writes in _scan(source, totals):
        lsn += 1
        await target.commit(epoch, replace(writes, totals=replace(totals, lsn=lsn)))
    return totals


async def _scan(source: StoreReader, totals: Totals) -> AsyncIterator[CommitWrites]:
    async for devices, device_rows in source.scan_devices():
        yield CommitWrites(totals, device_slots=devices, device_rows=device_rows)
    async for slots, rows in source.scan_patterns():
        yield CommitWrites(totals, slots=slots, rows=rows)
    async for devices, liked in source.scan_liked():
        yield CommitWrites(totals, liked_devices=devices, liked_rows=liked)
    async for records in source.scan_groups():
        yield CommitWrites(totals, group_records=records)
    yield CommitWrites(totals, counts=await source.read_hourly_counts())


def _set_lsn(url: str, lsn: int) -> None:
    """Let a copy go on after the last commit of its source, which the copied rows name."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE constellation.shard SET lsn = %s", (lsn,))


def _hash_sources() -> str:
    """Return a hash of what decides the rows of a filled store."""
    digest = blake2b(digest_size=6)
    for source in map(Path, _SOURCES):
        digest.update(source.read_bytes())
    return digest.hexdigest()
