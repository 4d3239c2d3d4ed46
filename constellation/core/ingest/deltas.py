"""Deltas as they wait for a commit, and the receipts that say what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from constellation.core.table.origins import UNKNOWN_ORIGIN, DeviceOrigin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.encoding import Encoding


class RejectionReason(IntEnum):
    """Why one pattern was not stored. The numbers are those of the .proto."""

    BELOW_QUALITY = 1
    NOT_FINITE = 2
    BAD_NORM = 3
    BAD_SUCCESS_RATE = 4
    BAD_SAMPLE_COUNT = 5
    BAD_CONTEXT = 6
    TOO_MANY_PATTERNS = 7
    SHARD_FULL = 8
    TOO_MANY_NEW_CONTENTS = 9
    TOO_MANY_NEW_PATTERNS = 10


@dataclass(slots=True, eq=False)  # not frozen: that would cost each delta 3 us
class PatternColumns:
    """The patterns of one delta as sent: columns of the right length, whose values are unchecked.

    They stay bytes until the commit, which decodes all waiting deltas at once.
    """

    ids: bytes
    """ID_BYTES for each of the n patterns."""
    encoding: Encoding
    embeddings: bytes
    success_rates: Sequence[float]
    sample_counts: Sequence[int]
    times_of_day: bytes
    day_types: bytes
    content_types: bytes
    created_at: Sequence[int]
    updated_at: Sequence[int]
    genres: Sequence[str]
    genre_counts: bytes
    """One byte for each pattern: its number of genres. Empty when no pattern has any."""
    genre_indexes: Sequence[int]
    """Indexes into `genres`, pattern by pattern: as many as the sum of `genre_counts`."""
    content_ids: Sequence[str]
    content_counts: bytes
    """One byte for each pattern: its number of content ids. Empty when no pattern has any."""
    content_indexes: Sequence[int]
    """Indexes into `content_ids`, pattern by pattern."""


@dataclass(slots=True, eq=False)
class Delta:
    """A numbered batch of changes from one device."""

    device_id: bytes
    incarnation: int
    seq: int
    upserts: PatternColumns | None = None
    removed_ids: bytes = b""
    """ID_BYTES for each removed pattern."""
    signal_contents: Sequence[str] = ()
    """The content id of each signal."""
    signal_hours: Sequence[int] = ()
    """The hour of each signal, in hours since 1970, UTC."""
    liked_contents: Sequence[str] = ()
    """In a snapshot: what the household liked, the latest last, distinct."""
    withdrawn_contents: Sequence[str] = ()
    """The content ids that no longer count as liked."""
    is_snapshot: bool = False
    """Whether the delta replaces everything stored for the device."""
    size_bytes: int = 0
    """The bytes of the message that holds these columns: as long as they live, it does."""
    origin: DeviceOrigin = UNKNOWN_ORIGIN


class Verdict(IntEnum):
    """What became of one delta."""

    APPLIED = 1
    DUPLICATE = 2
    GAP = 3
    """Its seq is not the next one, but a later one; nothing changed."""
    RESYNC = 4
    """Only a snapshot could apply to the device's cursor; nothing changed."""
    REFUSED = 5
    """The shard has no room for another device; nothing changed."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """One pattern that was not stored, and why."""

    seq: int
    """The seq of its delta."""
    pattern_id: bytes
    reason: RejectionReason


@dataclass(slots=True, eq=False)
class Receipt:
    """What became of one delta. A receipt exists only once that is durable."""

    verdict: Verdict
    through_seq: int
    """The device's cursor after the delta; 0 when it is of another incarnation."""
    rejections: Sequence[Rejection] = ()
    signals_dropped: int = 0
    """Signals that did not count, and liked content that is new beyond the device's budget."""
