"""Deltas as they wait for a commit, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.encoding import Encoding


class RejectionReason(IntEnum):
    """Why one pattern was not stored; the numbers are those of the .proto."""

    BELOW_QUALITY = 1
    NOT_FINITE = 2
    BAD_NORM = 3
    BAD_SUCCESS_RATE = 4
    BAD_SAMPLE_COUNT = 5
    BAD_CONTEXT = 6
    TOO_MANY_PATTERNS = 7
    SHARD_FULL = 8


@dataclass(slots=True, eq=False)  # not frozen: that costs 3 us, and there is one for each delta
class PatternColumns:
    """n patterns of one device as sent: columns of the right length, their values not yet checked.

    Kept as bytes until the commit, which decodes all that waits at once.
    """

    ids: bytes
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
    """One byte for each pattern, or empty."""
    genre_indexes: Sequence[int]
    """As many as genre_counts sum up to."""
    content_ids: Sequence[str]
    content_counts: bytes
    content_indexes: Sequence[int]


@dataclass(slots=True, eq=False)
class Delta:
    """A numbered batch of changes from one device."""

    device_id: bytes
    incarnation: int
    seq: int
    upserts: PatternColumns | None = None
    removed_ids: bytes = b""
    """16 bytes for each pattern."""
    signal_contents: Sequence[str] = ()
    signal_hours: Sequence[int] = ()
    """Hours since 1970, UTC; as many as signal_contents."""
    is_snapshot: bool = False


class Verdict(IntEnum):
    """What became of one delta."""

    APPLIED = 1
    DUPLICATE = 2
    GAP = 3
    """Its seq is beyond the next one; nothing changed."""
    RESYNC = 4
    """There is no usable cursor for it; nothing changed."""
    REFUSED = 5
    """The shard has no room for another device; nothing changed."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """One pattern that was not stored."""

    seq: int
    pattern_id: bytes
    reason: RejectionReason


@dataclass(slots=True, eq=False)
class Receipt:
    """What became of one delta; exists only once that is durable."""

    verdict: Verdict
    through_seq: int
    """The device's cursor after it."""
    rejections: Sequence[Rejection] = ()
    signals_dropped: int = 0
