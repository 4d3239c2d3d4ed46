"""PatternStore: the contract between the core and a store.

The core decides what a commit changes: rows, cursors, terms and counts. A store makes exactly that
durable, all or nothing, for the one writer that holds the epoch. Rows are fixed-width, so a store
moves columns of bytes and never looks inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from constellation.core.rows import (
    DEVICE,
    LIKED,
    PATTERN,
    DeviceRows,
    LikedRows,
    PatternRows,
    Slots,
    TermKind,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from numpy.typing import NDArray

    from constellation.core.store_identity import StoreIdentity
    from constellation.federated.published import StoredGlobal
    from constellation.histogram import Histogram

SECRET_BYTES: Final = 32
"""Bytes in the secret of a store."""


@dataclass(frozen=True, slots=True)
class Term:
    """A genre or a content id, and the number that stands for it in rows."""

    kind: TermKind
    number: int
    """Terms of each kind are numbered from 1, without gaps."""
    text: str


@dataclass(frozen=True, slots=True)
class Content:
    """One content item of the catalogue: something that can be watched."""

    content_id: str
    title: str
    content_type: int
    """A ContentType of the .proto."""
    genres: tuple[str, ...]
    year: int
    codes: bytes
    """The embedding as DIMENSION int8 codes: unit length once divided by their norm."""


@dataclass(frozen=True, slots=True, eq=False)
class HourlyCounts:
    """Distinct devices for each (hour, term): absolute counts, column by column."""

    hours: NDArray[np.uint32]
    """Shape (n,): hours since 1970, UTC."""
    kinds: NDArray[np.uint8]
    """Shape (n,): the TermKind of each term."""
    numbers: NDArray[np.uint32]
    """Shape (n,): the number of each term."""
    devices: NDArray[np.uint32]
    """Shape (n,): distinct devices."""


def no_slots() -> Slots:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class GroupRecords:
    """Records of groups of patterns, one after the other; the core alone knows what they say."""

    numbers: Slots = field(default_factory=no_slots)
    lengths: NDArray[np.int64] = field(default_factory=no_slots)
    """The bytes of each record."""
    data: bytes = b""

    @classmethod
    def from_list(cls, numbers: Sequence[int], records: Sequence[bytes]) -> GroupRecords:
        lengths = np.array([len(record) for record in records], np.int64)
        return cls(np.array(numbers, np.int64), lengths, b"".join(records))

    def to_list(self) -> list[bytes]:
        """Return the bytes of each record."""
        ends = np.cumsum(self.lengths)
        starts = ends - self.lengths
        pairs = zip(starts.tolist(), ends.tolist(), strict=True)
        return [self.data[start:end] for start, end in pairs]


def no_counts() -> HourlyCounts:
    empty = np.empty(0, np.uint32)
    return HourlyCounts(empty, np.empty(0, np.uint8), empty, empty)


@dataclass(frozen=True, slots=True)
class Totals:
    """The totals of a store after a commit: written with it, and compared at recovery."""

    lsn: int = 0
    """Log sequence number: the number of commits so far."""
    patterns: int = 0
    devices: int = 0
    pattern_digest: int = 0
    """`rows.digest_rows` over all (slot, row) of patterns; from 0 to 2**64 - 1."""
    device_digest: int = 0
    """`rows.digest_rows` over all (row number, row) of devices; from 0 to 2**64 - 1."""
    count_digest: int | None = 0
    """`HourlyRing.digest` of all hourly counts; from 0 to 2**64 - 1. None for a store of an earlier
    schema, until its next commit."""
    liked_digest: int = 0
    """`rows.digest_rows` over all (row number of a device, liked content); 0 to 2**64 - 1."""
    group_digest: int = 0
    """The sum of `stored_groups.compute_digests` over all records of groups; 0 to 2**64 - 1."""


@dataclass(frozen=True, slots=True, eq=False)
class CommitWrites:
    """Everything that one commit writes. No slot is in both `slots` and `freed_slots`."""

    totals: Totals
    """The totals after the commit."""
    slots: Slots = field(default_factory=no_slots)
    """Slots of the pattern rows to insert or replace, distinct."""
    rows: PatternRows = field(default_factory=lambda: np.empty(0, PATTERN))
    """The new row for each of `slots`."""
    freed_slots: Slots = field(default_factory=no_slots)
    """Slots of the pattern rows to delete, distinct; each exists."""
    device_slots: Slots = field(default_factory=no_slots)
    """Row numbers of the devices to insert or replace, distinct."""
    device_rows: DeviceRows = field(default_factory=lambda: np.empty(0, DEVICE))
    """The new row for each of `device_slots`."""
    freed_devices: Slots = field(default_factory=no_slots)
    """Row numbers of the devices to delete, distinct; each exists."""
    liked_devices: Slots = field(default_factory=no_slots)
    """Row numbers of the devices whose liked content to insert or replace, distinct."""
    liked_rows: LikedRows = field(default_factory=lambda: np.empty(0, LIKED))
    """The liked content of each of `liked_devices`, at least one content item."""
    freed_liked: Slots = field(default_factory=no_slots)
    """Row numbers of the devices whose liked content to delete, distinct; each has some."""
    group_records: GroupRecords = field(default_factory=GroupRecords)
    """Records of groups to insert or replace; their numbers are distinct."""
    freed_group_records: Slots = field(default_factory=no_slots)
    """Numbers of the records of groups to delete, distinct; each exists."""
    terms: Sequence[Term] = ()
    """New terms, which are never changed or removed later."""
    counts: HourlyCounts = field(default_factory=no_counts)
    """Hourly counts to insert or replace."""
    oldest_hour: int = 0
    """Hourly counts of earlier hours are deleted."""
    catalogue_digest: int | None = None
    """What the digest of the catalogue must be before this; None: whatever it is."""
    new_catalogue_digest: int | None = None
    """The digest of the catalogue to store, because it covers `terms`; None: as before."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write: a delta also changes the row of its device."""
        freed = len(self.freed_devices) + len(self.freed_liked) + len(self.freed_group_records)
        return not len(self.device_slots) and not len(self.group_records.numbers) and not freed


class StoreReader(Protocol):
    """Read access to what one shard has stored.

    Every method may raise NotReadyError while the store is unavailable.
    """

    @property
    def kind(self) -> str:
        """Return "memory", "sqlite" or "postgres"."""
        ...

    async def read_secret(self) -> bytes:
        """Return SECRET_BYTES random bytes, created with the store: the key of pseudonyms."""
        ...

    async def read_identity(self) -> StoreIdentity:
        """Return the shard, region and dimension of the store; what is not known yet is None."""
        ...

    async def read_totals(self) -> Totals:
        """Return the totals of the last commit."""
        ...

    def scan_patterns(self) -> AsyncIterator[tuple[Slots, PatternRows]]:
        """Yield every pattern row once, in blocks of at most 65,536 rows, by ascending slot.

        Raises DamagedStoreError when what is stored cannot be read as rows.
        """
        ...

    def scan_devices(self) -> AsyncIterator[tuple[Slots, DeviceRows]]:
        """Yield every device row once, in blocks of at most 65,536 rows, by ascending number.

        Raises DamagedStoreError when what is stored cannot be read as rows.
        """
        ...

    def scan_liked(self) -> AsyncIterator[tuple[Slots, LikedRows]]:
        """Yield the liked content of every device that has any, as `scan_devices` does.

        Raises DamagedStoreError when what is stored cannot be read as rows.
        """
        ...

    def scan_groups(self) -> AsyncIterator[GroupRecords]:
        """Yield every record of groups once, in blocks, by ascending number.

        Raises DamagedStoreError when what is stored cannot be read as records.
        """
        ...

    async def read_terms(self) -> Sequence[Term]:
        """Return every term; within each kind, in the order of their numbers."""
        ...

    async def read_hourly_counts(self) -> HourlyCounts:
        """Return every hourly count."""
        ...

    async def get_content(self, content_id: str) -> Content | None:
        """Return one content item, or None when the catalogue does not have it."""
        ...

    async def get_contents(self, content_ids: Sequence[str]) -> Sequence[Content]:
        """Return the named content items that the catalogue holds, in any order."""
        ...

    async def find_stored_ids(self, content_ids: Sequence[str]) -> set[str]:
        """Return the given content ids that the catalogue holds."""
        ...

    async def list_contents(self, after: str, limit: int) -> Sequence[Content]:
        """Return up to `limit` content items whose id sorts after `after`, by UTF-8 bytes."""
        ...

    async def count_contents(self) -> int:
        """Return how many content items the catalogue holds."""
        ...

    async def read_catalogue_digest(self) -> int | None:
        """Return the digest of the catalogue that was stored last, 0 before the first.

        Returns None for a store of an earlier schema, until `put_contents` is called.
        """
        ...

    async def get_global(self) -> StoredGlobal | None:
        """Return the global state that was last published to this shard; None before the first.

        Raises DamagedStoreError when it does not have the digest that was stored with it.
        """
        ...

    async def verify(self) -> Sequence[str]:
        """Read everything once; return a description of each damage, none when all is well."""
        ...

    async def read_size_bytes(self) -> int:
        """Return the bytes that the store takes on disk; 0 for the memory store."""
        ...


class PatternStore(StoreReader, Protocol):
    """A StoreReader with one writer.

    Scans, `read_terms` and `read_hourly_counts` are for recovery, before the first commit; the
    catalogue may be read at any time. The errors of a write mean:

    - NotReadyError: nothing changed.
    - OutcomeUnknownError: the answer was lost. After the next `take_epoch`, `read_totals` and the
      catalogue tell what is durable, and the lost write can no longer happen.
    - FencedError: another process has taken over the shard.
    - StoreFailedError: nothing may be acknowledged any more, and the process must end.
    """

    sync_seconds: Histogram
    """Durations of the last step of each commit, which makes it durable; empty for memory."""

    async def write_identity(self, identity: StoreIdentity) -> None:
        """Store what the store belongs to, durably: before the first commit, in place of None."""
        ...

    async def take_epoch(self) -> int:
        """Become the shard's one writer, and fence every earlier epoch; return the new epoch.

        Waits while another process holds the shard's lease. Raises FencedError instead of waiting
        when this store was the writer before.
        """
        ...

    async def hold_forever(self) -> None:
        """Keep the shard's lease. Runs until cancelled; raises FencedError after a takeover."""
        ...

    async def commit(self, epoch: int, writes: CommitWrites) -> None:
        """Write the changes durably, all or nothing.

        Raises StoreFailedError unless `writes.totals.lsn` is the last lsn + 1, and the catalogue
        has the expected digest.
        """
        ...

    async def put_contents(
        self,
        epoch: int,
        contents: Sequence[Content],
        terms: Sequence[Term],
        digest: int,
        expected_digest: int | None = None,
    ) -> None:
        """Insert or replace content items, and insert new terms, durably, all or nothing.

        `digest` is the CatalogueDigest.total after that: from 0 to 2**64 - 1.
        Raises StoreFailedError unless the store has `expected_digest` before that; None: whatever
        it has. It has another one when the database was restored, or a failover lost a write.
        """
        ...

    async def put_global(self, epoch: int, stored: StoredGlobal) -> None:
        """Replace the stored global state durably, all or nothing."""
        ...

    async def probe(self) -> None:
        """Return when the store answers; otherwise raise NotReadyError or StoreFailedError."""
        ...
