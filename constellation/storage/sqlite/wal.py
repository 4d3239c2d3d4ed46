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

_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_LITTLE: Final = 0x377F0682
_BIG: Final = 0x377F0683
_PAGE_SIZES: Final = tuple(2**power for power in range(9, 17))
_BLOCK_FRAMES: Final = 1024
_UNFINISHED: Final = 1
"""Transactions that a crash may cut short."""

Words = NDArray[np.uint32]


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
    report = _report(path, data, page_size, remedy)
    if report.dropped_bytes:
        log.warning(
            "wal_tail_dropped",
            path=str(path),
            frames=report.dropped_frames,
            bytes=report.dropped_bytes,
        )
    return report


def _report(path: Path, data: bytes, page_size: int, remedy: str) -> WalReport:
    if len(data) <= _HEADER:
        return WalReport(0, 0, 0)
    header_holds = _header_holds(data)
    if header_holds:
        page_size = int.from_bytes(data[8:12], "big")
    frames = _frames(data, page_size)
    if not len(frames):
        return WalReport(0, 0, len(data) - _HEADER)
    salts, commits, verified = _verified(data, frames, header_holds=header_holds)
    good = int(np.argmin(np.append(verified, False))) if header_holds else 0
    problem = _find_lost_commits(good, commits, verified, page_size, header_holds=header_holds)
    if problem:
        raise DamagedStoreError(f"{path} is damaged {problem}; {remedy}")
    read = np.flatnonzero(commits[:good])
    last = int(read[-1]) + 1 if len(read) else 0
    # Frames of an earlier use of the file stay behind the newest one, with other salts.
    dropped = int(np.max(np.flatnonzero(salts) + 1, initial=last)) - last
    size = _FRAME_HEADER + page_size
    partial = (len(data) - _HEADER) % size
    return WalReport(len(read), dropped, dropped * size + partial)


def _find_lost_commits(
    bad: int,
    commits: NDArray[np.bool_],
    verified: NDArray[np.bool_],
    page_size: int,
    *,
    header_holds: bool,
) -> str | None:
    """Describe the durable commits after the first bad frame; return None when there are none.

    The last transaction may have been written in any order, so its commit alone proves nothing.
    """
    first = bad if header_holds else -1
    later = int(np.count_nonzero((commits & verified)[first + 1 :]))
    was_commit = (
        header_holds and bad + 1 < len(verified) and bool(commits[bad]) and bool(verified[bad + 1])
    )
    if later + was_commit <= _UNFINISHED:
        return None
    offset = _HEADER + bad * (_FRAME_HEADER + page_size) if header_holds else 0
    where = f"frame {bad + 1}" if header_holds else "the header"
    return f"at {where}, byte {offset}: {later} later commits would be lost"


def _frames(data: bytes, page_size: int) -> NDArray[np.uint8]:
    """Return the whole frames, shape (n, frame size)."""
    size = _FRAME_HEADER + page_size
    count = (len(data) - _HEADER) // size
    flat = np.frombuffer(data, np.uint8, count * size, offset=_HEADER)
    return flat.reshape(count, size)


def _verified(
    data: bytes, frames: NDArray[np.uint8], *, header_holds: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return, for each frame: is it of this log, does it commit, does it continue the one before.

    "The one before" is what is stored there, right or wrong.
    """
    heads = np.ascontiguousarray(frames[:, :_FRAME_HEADER]).view(">u4").astype(np.uint32)
    header = np.frombuffer(data, ">u4", _HEADER // 4).astype(np.uint32)
    salts = (heads[:, 2:4] == (header[4:6] if header_holds else heads[0, 2:4])).all(axis=1)
    order = _byte_order(data) if header_holds else ("<" if sys.byteorder == "little" else ">")
    covered = np.concatenate((np.arange(8), np.arange(_FRAME_HEADER, frames.shape[1])))
    before = np.concatenate((header[None, 6:8], heads[:-1, 4:6]))
    sums = np.empty_like(before)
    for start in range(0, len(frames), _BLOCK_FRAMES):
        part = slice(start, start + _BLOCK_FRAMES)
        words = np.ascontiguousarray(frames[part][:, covered]).view(f"{order}u4")
        sums[part] = _checksums(before[part], words.astype(np.uint32, copy=False))
    verified = salts & (sums == heads[:, 4:6]).all(axis=1)
    return salts, (heads[:, 1] != 0) & salts, verified


def _header_holds(data: bytes) -> bool:
    if int.from_bytes(data[:4], "big") not in {_LITTLE, _BIG}:
        return False
    words = np.frombuffer(data, f"{_byte_order(data)}u4", 6).astype(np.uint32)
    stored = np.frombuffer(data, ">u4", 2, offset=24)
    sums = _checksums(np.zeros((1, 2), np.uint32), words[None, :])
    return bool((sums[0] == stored).all()) and int.from_bytes(data[8:12], "big") in _PAGE_SIZES


def _byte_order(data: bytes) -> str:
    return "<" if int.from_bytes(data[:4], "big") == _LITTLE else ">"


def _checksums(before: Words, words: Words) -> Words:
    """Continue each row's checksum over its words, all rows at once.

    SQLite's checksum is, for each pair (x, y): s0 += x + s1; s1 += y + s0, modulo 2**32. That is
    linear, so the words' share of it is one product with weights that depend on the length alone.
    """
    first, second, carry = _weights(words.shape[1])
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


def _weights(length: int) -> tuple[Words, Words, Words]:
    """Return each word's share of s0 and of s1, and the 2 by 2 share of the checksum before."""
    first, second = np.empty(length, np.uint32), np.empty(length, np.uint32)
    a, b, c, d = 1, 0, 0, 1  # how the state after a pair enters the end: s0 = a s0 + b s1, ...
    for at in range(length - 2, -1, -2):
        first[at], first[at + 1] = (a + b) % 2**32, b
        second[at], second[at + 1] = (c + d) % 2**32, d
        a, b = (a + b) % 2**32, (a + 2 * b) % 2**32
        c, d = (c + d) % 2**32, (c + 2 * d) % 2**32
    return first, second, np.array([[a, b], [c, d]], np.uint32)
