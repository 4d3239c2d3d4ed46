"""Deltas and patterns for tests, as values of the core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.ingest.deltas import Delta, PatternColumns
from constellation.encoding import Encoding, encode

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class PatternSpec:
    """One pattern of a device; patterns with the same number have the same id."""

    number: int
    direction: int = 0
    success_rate: float = 0.9
    sample_count: int = 3
    genres: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()

    @property
    def pattern_id(self) -> bytes:
        return (self.number + 1).to_bytes(16, "big")


def device_id(number: int) -> bytes:
    """Return the 16-byte id of a device, by its number."""
    return (number + 1).to_bytes(16, "little")


def embedding(direction: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the unit vector of a direction; different directions are nearly orthogonal."""
    vector = np.random.default_rng(direction).standard_normal(384).astype(np.float32)
    unit: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = vector / np.linalg.norm(vector)
    return unit


def make_columns(
    patterns: Sequence[PatternSpec], encoding: Encoding = Encoding.INT8
) -> PatternColumns:
    """Return patterns as the columns of a delta."""
    genres = sorted({genre for pattern in patterns for genre in pattern.genres})
    contents = sorted({content for pattern in patterns for content in pattern.contents})
    count = len(patterns)
    return PatternColumns(
        ids=b"".join(pattern.pattern_id for pattern in patterns),
        encoding=encoding,
        embeddings=encode(np.stack([embedding(p.direction) for p in patterns]), encoding),
        success_rates=[pattern.success_rate for pattern in patterns],
        sample_counts=[pattern.sample_count for pattern in patterns],
        times_of_day=bytes([3] * count),
        day_types=bytes([1] * count),
        content_types=bytes([1] * count),
        created_at=[1_700_000_000] * count,
        updated_at=[1_700_000_001] * count,
        genres=genres,
        genre_counts=bytes(len(pattern.genres) for pattern in patterns),
        genre_indexes=[genres.index(genre) for p in patterns for genre in p.genres],
        content_ids=contents,
        content_counts=bytes(len(pattern.contents) for pattern in patterns),
        content_indexes=[contents.index(content) for p in patterns for content in p.contents],
    )


def make_delta(  # noqa: PLR0913 - as many as a delta has parts
    device: int,
    seq: int,
    upserts: Sequence[PatternSpec] = (),
    removed: Sequence[int] = (),
    *,
    incarnation: int = 1,
    snapshot: bool = False,
    signals: Sequence[tuple[str, int]] = (),
    liked: Sequence[str] = (),
    withdrawn: Sequence[str] = (),
) -> Delta:
    """Return a delta of a device, by its number; a signal is (content id, hour)."""
    return Delta(
        device_id=device_id(device),
        incarnation=incarnation,
        seq=seq,
        upserts=make_columns(upserts) if upserts else None,
        removed_ids=b"".join(PatternSpec(number).pattern_id for number in removed),
        signal_contents=[content for content, _ in signals],
        signal_hours=[hour for _, hour in signals],
        liked_contents=liked,
        withdrawn_contents=withdrawn,
        is_snapshot=snapshot,
    )
