"""SqlitePatternStore: a durable store in one SQLite file, for one process at a time."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from constellation.core.rows import (
    DEVICE,
    PATTERN,
    DeviceRows,
    LikedRows,
    PatternRows,
    Slots,
)
from constellation.errors import (
    ConstellationError,
    DamagedStoreError,
    NotReadyError,
    StoreFailedError,
)
from constellation.histogram import Histogram
from constellation.storage.data_dir import JOURNAL_FILES, lock_directory
from constellation.storage.sqlite import read, write
from constellation.storage.sqlite.file import SqliteFile, get_error_code
from constellation.storage.sqlite.schema import PAGE_SIZE, create_or_upgrade, database_file

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from constellation.core.store import (
        CommitWrites,
        Content,
        GroupRecords,
        HourlyCounts,
        Term,
        Totals,
    )
    from constellation.core.store_identity import StoreIdentity
    from constellation.federated.published import StoredGlobal
    from constellation.storage.file_guard import FileGuard

log = structlog.get_logger(__name__)

CHECKPOINT_ROWS: Final = 2_000
"""Rows committed to the write-ahead log before a checkpoint moves them to the database.

The log then has at most about 8 MiB.
"""

_REQUIRED_FREE_BYTES: Final = 4 << 20
"""After a full disk, report healthy only once this many bytes are free.

A large commit fits into them.
"""

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


@asynccontextmanager
async def open_sqlite(data_dir: Path) -> AsyncIterator[SqlitePatternStore]:
    """Open the store in a directory. On exit, SQLite moves its log into the database file.

    Raises ConfigError, StoreInUseError or DamagedStoreError. Each message says what to do.
    """
    file = database_file(data_dir)
    loop = asyncio.get_running_loop()
    with (
        lock_directory(data_dir, JOURNAL_FILES),
        ThreadPoolExecutor(1, thread_name_prefix="sqlite") as writer,
    ):
        prepare = partial(create_or_upgrade, file=file)
        connection = await loop.run_in_executor(writer, file.connect, prepare)
        try:
            yield SqlitePatternStore(file, file.guard(), connection, writer)
        finally:
            await loop.run_in_executor(writer, connection.close)


class SqlitePatternStore:
    """A PatternStore in one SQLite file. All SQL runs in the writer thread, in call order."""

    kind: Final = "sqlite"

    def __init__(
        self,
        file: SqliteFile,
        guard: FileGuard,
        connection: sqlite3.Connection,
        writer: ThreadPoolExecutor,
    ) -> None:
        self.sync_seconds = Histogram()
        self._file = file
        self._guard = guard
        self._connection = connection
        self._writer = writer
        self._failure: str | None = None
        """Why no more reads or writes are allowed. Used by the writer thread only."""
        self._is_disk_full = False
        """Whether a write failed because the disk was full. Used by the writer thread only."""
        self._wal_rows = 0
        """Rows committed since the last checkpoint. Used by the writer thread only."""

    async def read_identity(self) -> StoreIdentity:
        return await self._read(read.read_identity)

    async def write_identity(self, identity: StoreIdentity) -> None:
        await self._write(partial(write.write_identity, identity=identity))

    async def take_epoch(self) -> int:
        return await self._write(write.take_epoch)

    async def hold_forever(self) -> None:
        """Wait until cancelled: this process has the directory's lock until it ends."""
        await asyncio.Event().wait()

    async def read_secret(self) -> bytes:
        return await self._read(read.read_secret)

    async def read_totals(self) -> Totals:
        return await self._read(read.read_totals)

    async def commit(self, epoch: int, writes: CommitWrites) -> None:
        await self._write(
            partial(write.write_commit, epoch=epoch, writes=writes, sync_seconds=self.sync_seconds)
        )
        written = (writes.slots, writes.device_slots, writes.freed_slots, writes.liked_devices)
        rows = sum(map(len, written)) + len(writes.group_records.numbers)
        # The checkpoint runs after the ack. If it fails, the next write raises the error.
        self._writer.submit(self._checkpoint, rows)

    def scan_patterns(self) -> AsyncIterator[tuple[Slots, PatternRows]]:
        return self._scan_blocks(
            partial(read.read_block, query=read.PATTERN_BLOCK_QUERY, dtype=PATTERN)
        )

    def scan_devices(self) -> AsyncIterator[tuple[Slots, DeviceRows]]:
        return self._scan_blocks(
            partial(read.read_block, query=read.DEVICE_BLOCK_QUERY, dtype=DEVICE)
        )

    def scan_liked(self) -> AsyncIterator[tuple[Slots, LikedRows]]:
        return self._scan_blocks(read.read_liked_block)

    async def scan_groups(self) -> AsyncIterator[GroupRecords]:
        after = -1
        while True:
            records = await self._read(partial(read.read_group_block, after=after))
            if not len(records.numbers):
                return
            yield records
            after = int(records.numbers[-1])

    async def read_terms(self) -> Sequence[Term]:
        return await self._read(read.read_terms)

    async def read_hourly_counts(self) -> HourlyCounts:
        return await self._read(read.read_hourly_counts)

    async def put_contents(
        self,
        epoch: int,
        contents: Sequence[Content],
        terms: Sequence[Term],
        digest: int,
        expected_digest: int | None = None,
    ) -> None:
        await self._write(
            partial(
                write.write_contents,
                epoch=epoch,
                contents=contents,
                terms=terms,
                digest=digest,
                expected_digest=expected_digest,
            )
        )
        self._writer.submit(self._checkpoint, len(contents))

    async def get_content(self, content_id: str) -> Content | None:
        return await self._read(partial(read.read_content, content_id=content_id))

    async def get_contents(self, content_ids: Sequence[str]) -> Sequence[Content]:
        return await self._read(partial(read.read_named_contents, content_ids=content_ids))

    async def find_stored_ids(self, content_ids: Sequence[str]) -> set[str]:
        return await self._read(partial(read.find_stored_ids, content_ids=content_ids))

    async def list_contents(self, after: str, limit: int) -> Sequence[Content]:
        return await self._read(partial(read.read_contents, after=after, limit=limit))

    async def count_contents(self) -> int:
        return await self._read(read.count_contents)

    async def read_catalogue_digest(self) -> int | None:
        return await self._read(read.read_catalogue_digest)

    async def get_global(self) -> StoredGlobal | None:
        return await self._read(read.read_global)

    async def put_global(self, epoch: int, stored: StoredGlobal) -> None:
        await self._write(partial(write.write_global, epoch=epoch, stored=stored))
        self._writer.submit(self._checkpoint, len(stored.payload) // PAGE_SIZE)

    async def probe(self) -> None:
        """Return when the store answers; after a full disk, only when there is enough space.

        One page may fit where a whole commit does not, so a small write alone proves nothing.
        Raises NotReadyError while there is too little space, and StoreFailedError once a file was
        removed or replaced: nothing may be written to it any more.
        """
        await self._read(read.read_totals)
        await asyncio.get_running_loop().run_in_executor(self._writer, self._require_intact_files)
        if self._is_disk_full:
            free = shutil.disk_usage(self._file.database.parent).free
            if free < _REQUIRED_FREE_BYTES:
                raise NotReadyError(
                    f"disk full: {free} bytes are free on the disk of {self._file.database}, "
                    f"but {_REQUIRED_FREE_BYTES} are needed; free some space"
                )
            await self._write(write.write_probe)

    async def read_size_bytes(self) -> int:
        return await self._read(self._measure_size)

    async def verify(self) -> Sequence[str]:
        """Return the problems of the file, or nothing when it is sound. Reads the whole file."""
        try:
            return await self._read(read.find_problems)
        except DamagedStoreError as error:
            return [str(error)]

    async def _scan_blocks(
        self, read_block: Callable[..., tuple[Slots, NDArray[np.void]]]
    ) -> AsyncIterator[tuple[Slots, NDArray[np.void]]]:
        """Yield the blocks that a function reads, each `after` the last slot of the one before."""
        after = -1
        while True:
            slots, rows = await self._read(partial(read_block, after=after))
            if not len(slots):
                return
            yield slots, rows
            after = int(slots[-1])

    async def _read(self, work: Work[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._writer, self._run_guarded, work, self._translate_read_error
        )

    async def _write(self, work: Work[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._writer, self._run_guarded, work, self._translate_write_error
        )

    def _run_guarded(
        self, work: Work[T], translate: Callable[[sqlite3.DatabaseError], ConstellationError]
    ) -> T:
        if self._failure:
            raise StoreFailedError(self._failure)
        try:
            result = work(self._connection)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # an error in this program; SQLite rolled it back
        except sqlite3.DatabaseError as error:
            raise translate(error) from error
        except (ValueError, OverflowError) as error:  # a stored value that cannot be decoded
            if translate == self._translate_write_error:
                raise
            raise self._file.make_damage_error(str(error)) from error
        if translate == self._translate_write_error:
            self._require_intact_files()
            self._is_disk_full = False
        return result

    def _require_intact_files(self) -> None:
        """Raise StoreFailedError, now and at every later call, once a file is another or gone."""
        try:
            self._guard.require_intact()
        except StoreFailedError as error:
            self._failure = str(error)
            raise

    def _translate_read_error(self, error: sqlite3.DatabaseError) -> ConstellationError:
        return self._file.translate_error(error)

    def _translate_write_error(self, error: sqlite3.DatabaseError) -> ConstellationError:
        if get_error_code(error) == sqlite3.SQLITE_FULL and not self._connection.in_transaction:
            self._is_disk_full = True
            return self._file.make_full_disk_error()
        # After a failed fsync it is unknown what is on disk, and the next fsync would succeed.
        self._failure = str(self._file.make_failure_error(error))
        return StoreFailedError(self._failure)

    def _checkpoint(self, rows: int) -> None:
        self._wal_rows += rows
        if self._failure or self._wal_rows < CHECKPOINT_ROWS:
            return
        try:
            self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            self._wal_rows = 0
        except sqlite3.DatabaseError as error:
            # On a full disk, the log only keeps the commits for longer.
            if get_error_code(error) != sqlite3.SQLITE_FULL:
                self._failure = str(self._file.make_failure_error(error))
                log.error("checkpoint_failed", problem=self._failure)  # noqa: TRY400

    def _measure_size(self, _: sqlite3.Connection) -> int:
        files = (self._file.database, self._file.log)
        return sum(file.stat().st_size for file in files if file.exists())
