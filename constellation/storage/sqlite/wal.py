"""Finds damage in a write-ahead log of SQLite, before SQLite opens it.

SQLite reads the log up to the first frame whose checksum is wrong and silently forgets the rest:
right for the last transaction, cut short by a crash; wrong for a bit that flipped in the middle.
Each frame's checksum continues its predecessor's, as stored. So frames that verify *after* a bad
one were written after it, and all but those of the last transaction after it was durable.
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
"""Transactions that a crash may cut short."""

Uint32Array = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class WalReport:
    """What a write-ahead log holds."""

    commits: int
    """Transactions SQLite will read."""
    dropped_frames: int
    """Whole frames of this log after the last of them, which SQLite will forget ..."""
    dropped_bytes: int
    """... and their bytes, with those of a frame cut short."""


def check_wal(path: Path, page_size: int, remedy: str) -> WalReport:
    """Report on the log and warn of a dropped tail; raise DamagedStoreError on lost commits.

    `page_size` is the database's: the log's own header may be what is damaged. `remedy` ends the
    message of the error.
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
    good = int(np.argmin(np.append(verified, False))) if is_header_valid else 0
    problem = _find_lost_commits(
        good, commits, verified, page_size, is_header_valid=is_header_valid
    )
    if problem:
        raise DamagedStoreError(f"{path} is damaged {problem}; {remedy}")
    read = np.flatnonzero(commits[:good])
    last = int(read[-1]) + 1 if len(read) else 0
    # Frames of an earlier use of the file stay behind the newest one, with other salts.
    dropped = int(np.max(np.flatnonzero(salts) + 1, initial=last)) - last
    size = _FRAME_HEADER_BYTES + page_size
    partial = (len(data) - _HEADER_BYTES) % size
    return WalReport(len(read), dropped, dropped * size + partial)


def _find_lost_commits(
    first_bad: int,
    commits: NDArray[np.bool_],
    verified: NDArray[np.bool_],
    page_size: int,
    *,
    is_header_valid: bool,
) -> str | None:
    """Describe the durable commits after the first bad frame; return None when there are none.

    The last transaction may have been written in any order, so its commit alone proves nothing.
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
    """Return the whole frames, shape (n, frame size)."""
    size = _FRAME_HEADER_BYTES + page_size
    count = (len(data) - _HEADER_BYTES) // size
    flat = np.frombuffer(data, np.uint8, count * size, offset=_HEADER_BYTES)
    return flat.reshape(count, size)


def _verify_frames(
    data: bytes, frames: NDArray[np.uint8], *, is_header_valid: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return, for each frame: is it of this log, does it commit, does it continue the one before.

    "The one before" is what is stored there, right or wrong.
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
    """Continue each row's checksum over its words, all rows at once.

    SQLite's checksum is, for each pair (x, y): s0 += x + s1; s1 += y + s0, modulo 2**32. That is
    linear, so the words' share of it is one product with weights that depend on the length alone.
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
    """Return each word's share of s0 and of s1, and the 2 by 2 share of the checksum before."""
    first, second = np.empty(length, np.uint32), np.empty(length, np.uint32)
    a, b, c, d = 1, 0, 0, 1  # how the state after a pair enters the end: s0 = a s0 + b s1, ...
    for at in range(length - 2, -1, -2):
        first[at], first[at + 1] = (a + b) % 2**32, b
        second[at], second[at + 1] = (c + d) % 2**32, d
        a, b = (a + b) % 2**32, (a + 2 * b) % 2**32
        c, d = (c + d) % 2**32, (c + 2 * d) % 2**32
    return first, second, np.array([[a, b], [c, d]], np.uint32)
