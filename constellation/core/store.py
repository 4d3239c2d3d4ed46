"""PatternStore: what the core asks of a store.

The core decides what a commit changes (rows, cursors, words, counts); a store makes exactly that
durable, all or nothing, for the one writer that holds the epoch. Rows are fixed-width, so a store
moves columns of bytes and never looks inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from constellation.core.rows import (
    DEVICE,
    PATTERN,
    DeviceRows,
    PatternRows,
    Slots,
    TermKind,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from numpy.typing import NDArray

    from constellation.federated.published import StoredGlobal
    from constellation.histogram import Histogram


SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Term:
    """A genre or a content id, and the number rows hold in its place."""

    kind: TermKind
    number: int
    """From 1, dense, per kind."""
    text: str


@dataclass(frozen=True, slots=True)
class Content:
    """One thing that can be watched, as the catalogue holds it."""

    content_id: str
    title: str
    content_type: int
    genres: tuple[str, ...]
    year: int
    codes: bytes
    """DIMENSION int8 codes; unit length once divided by their norm."""


@dataclass(frozen=True, slots=True, eq=False)
class HourlyCounts:
    """Distinct devices for each (hour, genre or content): absolute values, column by column."""

    hours: NDArray[np.uint32]
    kinds: NDArray[np.uint8]
    """WordKind of each."""
    numbers: NDArray[np.uint32]
    """Numbers of words of that kind."""
    devices: NDArray[np.uint32]


def no_slots() -> Slots:
    return np.empty(0, np.int64)


def no_counts() -> HourlyCounts:
    empty = np.empty(0, np.uint32)
    return HourlyCounts(empty, np.empty(0, np.uint8), empty, empty)


@dataclass(frozen=True, slots=True)
class Totals:
    """What a store must hold after a commit; written with it and compared at recovery."""

    lsn: int = 0
    """Log sequence number: commits so far."""
    patterns: int = 0
    devices: int = 0
    pattern_digest: int = 0
    """`patterns.digest` over all (slot, row); 0 to 2**64 - 1."""
    device_digest: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class CommitWrites:
    """All that one commit writes. A slot is in at most one of `slots` and `freed`."""

    totals: Totals
    slots: Slots = field(default_factory=no_slots)
    """Pattern rows to insert or replace, distinct ..."""
    rows: PatternRows = field(default_factory=lambda: np.empty(0, PATTERN))
    """... and what they become."""
    freed_slots: Slots = field(default_factory=no_slots)
    """Pattern rows to delete; distinct; each exists."""
    device_slots: Slots = field(default_factory=no_slots)
    """Device rows to insert or replace, distinct ..."""
    device_rows: DeviceRows = field(default_factory=lambda: np.empty(0, DEVICE))
    """... and what they become."""
    freed_devices: Slots = field(default_factory=no_slots)
    terms: Sequence[Term] = ()
    """New words; never changed or removed later."""
    counts: HourlyCounts = field(default_factory=no_counts)
    """Counts to insert or replace."""
    oldest_hour: int = 0
    """Counts of earlier hours are deleted."""


class StoreReader(Protocol):
    """What one shard has stored, to be read.

    Every method may raise NotReadyError while the store is away.
    """

    @property
    def kind(self) -> str:
        """Return "memory", "sqlite" or "postgres"."""
        ...

    async def read_secret(self) -> bytes:
        """Return SECRET_BYTES random bytes, made with the store: the key of pseudonyms."""
        ...

    async def read_totals(self) -> Totals:
        """Return the totals of the last commit."""
        ...

    def scan_patterns(self) -> AsyncIterator[tuple[Slots, PatternRows]]:
        """Yield every pattern row once, in blocks of at most 65,536, in ascending slots.

        Raises DamagedStoreError when what is stored cannot be read as rows.
        """
        ...

    def scan_devices(self) -> AsyncIterator[tuple[Slots, DeviceRows]]:
        """Yield every device row once, likewise."""
        ...

    async def read_terms(self) -> Sequence[Term]:
        """Return every word, in the order of their numbers within each kind."""
        ...

    async def read_hourly_counts(self) -> HourlyCounts:
        """Return every hourly count."""
        ...

    async def read_changed_slots(self, lsn: int) -> Slots | None:
        """Return the pattern slots changed or freed by commits after `lsn`, ascending, distinct.

        None when the log no longer reaches back that far, or `lsn` is ahead of the store.
        """
        ...

    async def get_content(self, content_id: str) -> Content | None:
        """Return one content, or None."""
        ...

    async def find_stored_ids(self, content_ids: Sequence[str]) -> set[str]:
        """Return which of these contents the catalogue holds."""
        ...

    async def list_contents(self, after: str, limit: int) -> Sequence[Content]:
        """Return up to `limit` contents whose content_id sorts after `after`, by UTF-8 bytes."""
        ...

    async def count_contents(self) -> int:
        """Return how many contents the catalogue holds."""
        ...

    async def get_global(self) -> StoredGlobal | None:
        """Return the last global that was published to this shard, None before the first."""
        ...

    async def verify(self) -> Sequence[str]:
        """Read everything once; return what is damaged, nothing when all is well."""
        ...

    async def read_size_bytes(self) -> int:
        """Return the bytes the store takes on disk; 0 for memory."""
        ...


class PatternStore(StoreReader, Protocol):
    """A StoreReader with one writer.

    Scans, `words` and `counts` are for recovery, before the first commit; catalogue reads are for
    any time. A write that raised NotReadyError changed nothing. StoreFailedError means that nothing
    may be acked any more and the process must end, FencedError that another has taken its place.
    OutcomeUnknownError means that the answer was lost: after the next `take_epoch`, `totals` and
    the catalogue tell what is durable, and the lost write can no longer happen.
    """

    sync_seconds: Histogram
    """How long the last step of each commit took, which makes it durable; of memory nothing."""

    async def take_epoch(self) -> int:
        """Become the shard's one writer: from now on every earlier epoch is fenced.

        Waits for as long as another process is entitled to the shard; raises FencedError instead
        when this store was the writer before.
        """
        ...

    async def hold_forever(self) -> None:
        """Stay entitled to the shard. Runs until cancelled; raises FencedError after a takeover."""
        ...

    async def commit(self, epoch: int, writes: CommitWrites) -> None:
        """Write the changes durably, all or nothing.

        Raises StoreFailedError unless `changes.totals.lsn` is the last lsn + 1.
        """
        ...

    async def trim_change_log(self, epoch: int, through_lsn: int) -> None:
        """Drop the log of changed slots up to and including `through_lsn`."""
        ...

    async def put_contents(
        self, epoch: int, contents: Sequence[Content], terms: Sequence[Term]
    ) -> None:
        """Insert or replace contents, and insert new words, durably, all or nothing."""
        ...

    async def put_global(self, epoch: int, stored: StoredGlobal) -> None:
        """Replace the stored global durably, all or nothing."""
        ...

    async def probe(self) -> None:
        """Return when the store answers; raise NotReadyError or StoreFailedError when not."""
        ...
