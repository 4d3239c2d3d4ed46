"""Files of a SQLite store that was never closed, as a crash would leave them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from constellation.storage.sqlite.store import open_sqlite
from tests.storage.samples import make_commit, read_patterns

if TYPE_CHECKING:
    from pathlib import Path


async def make_crashed_copy(tmp_path: Path, commits: int) -> tuple[Path, list[int]]:
    """Return a copy of an open store's files, and the bytes in its log after each commit."""
    copy, lengths = tmp_path / "crashed", []
    async with open_sqlite(tmp_path / "data") as store:
        epoch = await store.take_epoch()
        for lsn in range(1, commits + 1):
            await store.commit(epoch, make_commit(lsn, np.arange(lsn * 10, lsn * 10 + 10)))
            log = (tmp_path / "data" / "shard.db-wal").read_bytes()
            lengths.append(len(log))
        shutil.copytree(tmp_path / "data", copy)
    return copy, lengths


async def read_lsn(data_dir: Path) -> int:
    """Open the files as a store, and return its lsn once all patterns of its commits are there."""
    async with open_sqlite(data_dir) as store:
        totals = await store.read_totals()
        assert len(await read_patterns(store)) == totals.lsn * 10
        return totals.lsn
