"""MemoryPatternStore: a store for development and tests, which is lost with the process."""

from __future__ import annotations

import asyncio
import heapq
import secrets
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import (
    BLOCK_ROWS,
    DEVICE,
    LIKED,
    PATTERN,
    DeviceRows,
    LikedRows,
    PatternRows,
    Slots,
)
from constellation.core.store import (
    SECRET_BYTES,
    CommitWrites,
    Content,
    GroupRecords,
    HourlyCounts,
    Term,
    Totals,
)
from constellation.core.store_identity import StoreIdentity
from constellation.errors import FencedError, StoreFailedError
from constellation.histogram import Histogram
from constellation.storage.digests import require_catalogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from numpy.typing import NDArray

    from constellation.federated.published import StoredGlobal


class MemoryPatternStore:
    """A PatternStore in arrays and dicts. Every method is atomic, because none of them awaits."""

    kind: Final = "memory"

    def __init__(self) -> None:
        self.sync_seconds = Histogram()
        self._epoch = 0
        self._secret = secrets.token_bytes(SECRET_BYTES)
        self._identity = StoreIdentity()
        self._totals = Totals()
        self._patterns = _RowArray(PATTERN)
        self._devices = _RowArray(DEVICE)
        self._liked = _RowArray(LIKED)
        self._terms: list[Term] = []
        self._counts: dict[tuple[int, int, int], int] = {}
        """Devices by hour, kind and number."""
        self._groups: dict[int, bytes] = {}
        """Records of groups by number."""
        self._contents: dict[str, Content] = {}
        self._catalogue_digest = 0
        self._global: StoredGlobal | None = None

    async def read_identity(self) -> StoreIdentity:
        return self._identity

    async def write_identity(self, identity: StoreIdentity) -> None:
        self._identity = identity

    async def take_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    async def hold_forever(self) -> None:
        """Wait until cancelled: no other process can write this memory."""
        await asyncio.Event().wait()

    async def read_secret(self) -> bytes:
        return self._secret

    async def read_totals(self) -> Totals:
        return self._totals

    async def commit(self, epoch: int, writes: CommitWrites) -> None:
        self._require_epoch(epoch)
        lsn = writes.totals.lsn
        if lsn != self._totals.lsn + 1:
            raise StoreFailedError(f"lsn must be {self._totals.lsn + 1}, got {lsn}")
        require_catalogue(self._catalogue_digest, writes.catalogue_digest)
        self._patterns.put(writes.slots, writes.rows)
        self._patterns.free(writes.freed_slots)
        self._devices.put(writes.device_slots, writes.device_rows)
        self._devices.free(writes.freed_devices)
        self._liked.put(writes.liked_devices, writes.liked_rows)
        self._liked.free(writes.freed_liked)
        self._terms.extend(writes.terms)
        self._put_counts(writes.counts, writes.oldest_hour)
        for number in writes.freed_group_records.tolist():
            del self._groups[number]
        records = writes.group_records
        self._groups.update(zip(records.numbers.tolist(), records.to_list(), strict=True))
        self._totals = writes.totals
        if writes.new_catalogue_digest is not None:
            self._catalogue_digest = writes.new_catalogue_digest

    def scan_patterns(self) -> AsyncIterator[tuple[Slots, PatternRows]]:
        return self._patterns.scan()

    def scan_devices(self) -> AsyncIterator[tuple[Slots, DeviceRows]]:
        return self._devices.scan()

    def scan_liked(self) -> AsyncIterator[tuple[Slots, LikedRows]]:
        return self._liked.scan()

    async def scan_groups(self) -> AsyncIterator[GroupRecords]:
        numbers = sorted(self._groups)
        if numbers:
            yield GroupRecords.from_list(numbers, [self._groups[number] for number in numbers])

    async def read_terms(self) -> Sequence[Term]:
        return sorted(self._terms, key=lambda term: (term.kind, term.number))

    async def read_hourly_counts(self) -> HourlyCounts:
        hours, kinds, numbers = np.array(list(self._counts), np.uint32).reshape(-1, 3).T
        devices = np.array(list(self._counts.values()), np.uint32)
        return HourlyCounts(hours, kinds.astype(np.uint8), numbers, devices)

    async def put_contents(
        self,
        epoch: int,
        contents: Sequence[Content],
        terms: Sequence[Term],
        digest: int,
        expected_digest: int | None = None,
    ) -> None:
        self._require_epoch(epoch)
        require_catalogue(self._catalogue_digest, expected_digest)
        self._contents.update((content.content_id, content) for content in contents)
        self._terms.extend(terms)
        self._catalogue_digest = digest

    async def get_content(self, content_id: str) -> Content | None:
        return self._contents.get(content_id)

    async def get_contents(self, content_ids: Sequence[str]) -> Sequence[Content]:
        return [self._contents[each] for each in content_ids if each in self._contents]

    async def find_stored_ids(self, content_ids: Sequence[str]) -> set[str]:
        return self._contents.keys() & set(content_ids)

    async def list_contents(self, after: str, limit: int) -> Sequence[Content]:
        later = (content_id for content_id in self._contents if content_id > after)
        # Python orders text by code point, and the bytes of UTF-8 have the same order.
        return [self._contents[content_id] for content_id in heapq.nsmallest(limit, later)]

    async def count_contents(self) -> int:
        return len(self._contents)

    async def read_catalogue_digest(self) -> int | None:
        return self._catalogue_digest

    async def get_global(self) -> StoredGlobal | None:
        return self._global

    async def put_global(self, epoch: int, stored: StoredGlobal) -> None:
        self._require_epoch(epoch)
        self._global = stored

    async def verify(self) -> Sequence[str]:
        return ()

    async def probe(self) -> None:
        """Return at once, because memory is always available."""

    async def read_size_bytes(self) -> int:
        return 0

    def _require_epoch(self, epoch: int) -> None:
        if epoch != self._epoch:
            raise FencedError(f"epoch {epoch} was taken over by epoch {self._epoch}")

    def _put_counts(self, counts: HourlyCounts, oldest_hour: int) -> None:
        columns = (counts.hours.tolist(), counts.kinds.tolist(), counts.numbers.tolist())
        keys = zip(*columns, strict=True)
        self._counts.update(zip(keys, counts.devices.tolist(), strict=True))
        old = [key for key in self._counts if key[0] < oldest_hour]
        for key in old:
            del self._counts[key]


class _RowArray:
    """Rows by slot, in one array that doubles its size when it is full."""

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self._rows: NDArray[np.void] = np.empty(0, dtype)
        self._used = np.empty(0, np.bool_)

    def put(self, slots: Slots, rows: NDArray[np.void]) -> None:
        size = int(slots.max(initial=-1)) + 1
        if size > len(self._used):
            more = max(size, 2 * len(self._used)) - len(self._used)
            self._rows = np.concatenate((self._rows, np.empty(more, self._rows.dtype)))
            self._used = np.concatenate((self._used, np.zeros(more, np.bool_)))
        self._rows[slots] = rows
        self._used[slots] = True

    def free(self, slots: Slots) -> None:
        self._used[slots] = False

    async def scan(self) -> AsyncIterator[tuple[Slots, NDArray[np.void]]]:
        used = np.flatnonzero(self._used)
        for start in range(0, len(used), BLOCK_ROWS):
            slots = used[start : start + BLOCK_ROWS]
            yield slots, self._rows[slots]
