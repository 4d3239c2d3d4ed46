"""Detection of damage in a write-ahead log of SQLite, before SQLite opens the log.

SQLite reads the log up to the first frame whose checksum is wrong and silently drops the rest. That
is right for a last transaction that a crash cut short. It is wrong for a bit that flipped in the
middle, because durable commits after it would be lost.

The checksum of each frame continues the stored checksum of the frame before. Frames that verify
*after* a bad frame were therefore written after it. The bad frame was durable by the time that any
of them was written, except for the frames of the last transaction.

The format is described in SQLite's documentation, "The WAL File Format".
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from constellation.errors import DamagedStoreError

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_LITTLE_ENDIAN_MAGIC: Final = 0x377F0682
_BIG_ENDIAN_MAGIC: Final = 0x377F0683
_PAGE_SIZES: Final = tuple(2**power for power in range(9, 17))
_BLOCK_FRAMES: Final = 1024
_MAX_UNFINISHED_TRANSACTIONS: Final = 1
"""Transactions that a crash can cut short."""

Uint32Array = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class WalReport:
    """What SQLite will read from a write-ahead log, and what it will drop."""

    commits: int
    """Transactions that SQLite will read."""
    dropped_frames: int
    """Complete frames after the last commit, which SQLite will drop."""
    dropped_bytes: int
    """Bytes of the dropped frames and of an incomplete frame at the end."""


def check_wal(path: Path, page_size: int, remedy: str) -> WalReport:
    """Check a log, and log a warning when SQLite will drop its tail.

    `page_size` is that of the database, because the header of the log itself may be damaged.
    Raises DamagedStoreError when SQLite would lose commits; `remedy` ends its message. A log that
    does not exist is an empty one.
    """
    data = path.read_bytes() if path.exists() else b""
    report = _inspect_wal(path, data, page_size, remedy)
    if report.dropped_bytes:
        log.warning(
            "wal_tail_dropped",
            path=str(path),
            frames=report.dropped_frames,
            bytes=report.dropped_bytes,
        )
    return report


def _inspect_wal(path: Path, data: bytes, page_size: int, remedy: str) -> WalReport:
    if len(data) <= _HEADER_BYTES:
        return WalReport(0, 0, 0)
    is_header_valid = _is_header_valid(data)
    if is_header_valid:
        page_size = int.from_bytes(data[8:12], "big")
    frames = _split_frames(data, page_size)
    if not len(frames):
        return WalReport(0, 0, len(data) - _HEADER_BYTES)
    salts, commits, verified = _verify_frames(data, frames, is_header_valid=is_header_valid)
    first_bad = int(np.argmin(np.append(verified, False))) if is_header_valid else 0
    problem = _find_lost_commits(
        first_bad, commits, verified, page_size, is_header_valid=is_header_valid
    )
    if problem:
        raise DamagedStoreError(f"{path} is damaged {problem}; {remedy}")
    commit_frames = np.flatnonzero(commits[:first_bad])
    end = int(commit_frames[-1]) + 1 if len(commit_frames) else 0
    # SQLite reuses the file: frames of an earlier use, with other salts, may follow this log's.
    dropped = int(np.max(np.flatnonzero(salts) + 1, initial=end)) - end
    frame_bytes = _FRAME_HEADER_BYTES + page_size
    incomplete_bytes = (len(data) - _HEADER_BYTES) % frame_bytes
    return WalReport(len(commit_frames), dropped, dropped * frame_bytes + incomplete_bytes)


def _find_lost_commits(
    first_bad: int,
    commits: NDArray[np.bool_],
    verified: NDArray[np.bool_],
    page_size: int,
    *,
    is_header_valid: bool,
) -> str | None:
    """Describe the durable commits that SQLite would lose, or return None if it would lose none.

    The disk may have written the frames of the last transaction in any order, so a single commit
    after the first bad frame does not prove that the frame was durable.
    """
    first = first_bad if is_header_valid else -1
    later = int(np.count_nonzero((commits & verified)[first + 1 :]))
    was_commit = (
        is_header_valid
        and first_bad + 1 < len(verified)
        and bool(commits[first_bad])
        and bool(verified[first_bad + 1])
    )
    if later + was_commit <= _MAX_UNFINISHED_TRANSACTIONS:
        return None
    offset = _HEADER_BYTES + first_bad * (_FRAME_HEADER_BYTES + page_size) if is_header_valid else 0
    where = f"frame {first_bad + 1}" if is_header_valid else "the header"
    return f"at {where}, byte {offset}: {later} later commits would be lost"


def _split_frames(data: bytes, page_size: int) -> NDArray[np.uint8]:
    """Return the complete frames, shape (n, bytes in a frame)."""
    size = _FRAME_HEADER_BYTES + page_size
    count = (len(data) - _HEADER_BYTES) // size
    flat = np.frombuffer(data, np.uint8, count * size, offset=_HEADER_BYTES)
    return flat.reshape(count, size)


def _verify_frames(
    data: bytes, frames: NDArray[np.uint8], *, is_header_valid: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return three masks of shape (n,): is the frame of this log, does it commit, does it verify.

    A frame verifies when its checksum continues the stored checksum of the frame before, even if
    that frame itself is damaged.
    """
    heads = np.ascontiguousarray(frames[:, :_FRAME_HEADER_BYTES]).view(">u4").astype(np.uint32)
    header = np.frombuffer(data, ">u4", _HEADER_BYTES // 4).astype(np.uint32)
    salts = (heads[:, 2:4] == (header[4:6] if is_header_valid else heads[0, 2:4])).all(axis=1)
    order = (
        _read_byte_order(data) if is_header_valid else ("<" if sys.byteorder == "little" else ">")
    )
    covered = np.concatenate((np.arange(8), np.arange(_FRAME_HEADER_BYTES, frames.shape[1])))
    before = np.concatenate((header[None, 6:8], heads[:-1, 4:6]))
    sums = np.empty_like(before)
    for start in range(0, len(frames), _BLOCK_FRAMES):
        part = slice(start, start + _BLOCK_FRAMES)
        words = np.ascontiguousarray(frames[part][:, covered]).view(f"{order}u4")
        sums[part] = _continue_checksums(before[part], words.astype(np.uint32, copy=False))
    verified = salts & (sums == heads[:, 4:6]).all(axis=1)
    return salts, (heads[:, 1] != 0) & salts, verified


def _is_header_valid(data: bytes) -> bool:
    if int.from_bytes(data[:4], "big") not in {_LITTLE_ENDIAN_MAGIC, _BIG_ENDIAN_MAGIC}:
        return False
    words = np.frombuffer(data, f"{_read_byte_order(data)}u4", 6).astype(np.uint32)
    stored = np.frombuffer(data, ">u4", 2, offset=24)
    sums = _continue_checksums(np.zeros((1, 2), np.uint32), words[None, :])
    return bool((sums[0] == stored).all()) and int.from_bytes(data[8:12], "big") in _PAGE_SIZES


def _read_byte_order(data: bytes) -> str:
    return "<" if int.from_bytes(data[:4], "big") == _LITTLE_ENDIAN_MAGIC else ">"


def _continue_checksums(before: Uint32Array, words: Uint32Array) -> Uint32Array:
    """Return checksums (n, 2): each row of `before` (n, 2) continued over its row of `words`.

    For each pair of words (x, y), SQLite computes s0 += x + s1; s1 += y + s0, modulo 2**32. This is
    linear, so the contribution of the words is one product with weights that depend only on their
    number.
    """
    first, second, carry = _compute_weights(words.shape[1])
    sums = np.stack(
        (
            (words * first).sum(axis=1, dtype=np.uint32),
            (words * second).sum(axis=1, dtype=np.uint32),
        ),
        axis=1,
    )
    for column in (0, 1):
        sums += before[:, column, None] * carry[None, :, column]
    return sums


def _compute_weights(length: int) -> tuple[Uint32Array, Uint32Array, Uint32Array]:
    """Return each word's weights in s0 and in s1, and the 2 by 2 weights of the state before."""
    first, second = np.empty(length, np.uint32), np.empty(length, np.uint32)
    a, b, c, d = 1, 0, 0, 1  # final s0 = a s0 + b s1, s1 = c s0 + d s1 of this pair
    for at in range(length - 2, -1, -2):
        first[at], first[at + 1] = (a + b) % 2**32, b
        second[at], second[at + 1] = (c + d) % 2**32, d
        a, b = (a + b) % 2**32, (a + 2 * b) % 2**32
        c, d = (c + d) % 2**32, (c + 2 * d) % 2**32
    return first, second, np.array([[a, b], [c, d]], np.uint32)
