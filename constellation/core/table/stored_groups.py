"""Groups as a store keeps them: records of bytes, under numbers.

Record 2 g is group g: what was published of it, then its members. Record 2 b + 1 names the stale
patterns of the b-th block of slots. A member is named by its slot and by a hash of what it is, so
that a slot that was used again after a crash is not taken for it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.rows import DIGEST_MODULUS, PATTERN, PatternRows, Slots
from constellation.core.store import GroupRecords
from constellation.encoding import DIMENSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from constellation.encoding import Codes

MEMBER: Final = np.dtype([("slot", "<u4"), ("identity", "<u4"), ("codes", "<u4")])
"""A member of a group, with the hash of the codes that were counted."""
STALE_PATTERN: Final = np.dtype([("slot", "<u4"), ("identity", "<u4")])

_ODD: Final = np.random.default_rng(0x6E0).integers(0, 2**63, size=DIMENSION // 8, dtype=np.uint64)
_CODE_WEIGHTS: Final = _ODD | np.uint64(1)
_IDENTITY_WEIGHTS: Final = np.array(
    [0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64
)


def compute_digests(records: GroupRecords) -> list[int]:
    """Return a 64-bit hash of each record with its number."""
    return [
        int.from_bytes(
            blake2b(record, digest_size=8, salt=number.to_bytes(8, "little")).digest(), "little"
        )
        for number, record in zip(records.numbers.tolist(), records.to_list(), strict=True)
    ]


def hash_codes(codes: Codes) -> NDArray[np.uint32]:
    """Return a hash of each row of codes, shape (n,)."""
    numbers = np.ascontiguousarray(codes).view(np.uint64).reshape(-1, DIMENSION // 8)
    return _mix((numbers * _CODE_WEIGHTS).sum(axis=1, dtype=np.uint64))


def hash_identities(rows: PatternRows) -> NDArray[np.uint32]:
    """Return a hash of what each pattern is: its device and its id, but no revision."""
    return _hash_identities(rows["pattern_id"], rows["device"])


def hash_identities_at(patterns: PatternRows, slots: Slots) -> NDArray[np.uint32]:
    """Return `hash_identities` of the rows at some slots, without copies of whole rows."""
    return _hash_identities(patterns["pattern_id"][slots], patterns["device"][slots])


def _hash_identities(ids: NDArray[np.void], devices: NDArray[np.uint32]) -> NDArray[np.uint32]:
    halves = np.frombuffer(ids.tobytes(), "<u8").reshape(-1, 2)
    numbers = np.column_stack([halves, devices.astype(np.uint64)])
    return _mix((numbers * _IDENTITY_WEIGHTS).sum(axis=1, dtype=np.uint64))


def encode_groups(
    groups: Slots, rows: PatternRows, members: NDArray[np.void], sizes: NDArray[np.int64]
) -> GroupRecords:
    """Return the records of groups; `members` has dtype MEMBER, one group's after another's."""
    ends = np.cumsum(sizes)
    spans = zip((ends - sizes).tolist(), ends.tolist(), strict=True)
    records = [
        rows[index].tobytes() + members[start:end].tobytes()
        for index, (start, end) in enumerate(spans)
    ]
    return GroupRecords.from_list((2 * groups).tolist(), records)


def encode_stale(block: int, slots: Slots, rows: PatternRows) -> tuple[int, bytes]:
    """Return the number and the bytes of the record of a block's stale patterns."""
    stale = np.empty(len(slots), STALE_PATTERN)
    stale["slot"] = slots
    stale["identity"] = hash_identities(rows)
    return 2 * block + 1, stale.tobytes()


def decode_groups(
    records: GroupRecords, chosen: NDArray[np.bool_]
) -> tuple[PatternRows, NDArray[np.void], NDArray[np.int64]]:
    """Return what was published of the chosen records, which are of groups: a row of each.

    Returns as well their members, one group's after another's, and how many each has. Raises
    ValueError when the bytes are not such records.
    """
    lengths = records.lengths[chosen]
    sizes, rest = np.divmod(lengths - PATTERN.itemsize, MEMBER.itemsize)
    wrong = lengths[(sizes <= 0) | (rest > 0)]
    if len(wrong):
        raise ValueError(f"the record of a group cannot have {wrong[0]} bytes")
    data = np.frombuffer(records.data, np.uint8)
    starts = (np.cumsum(records.lengths) - records.lengths)[chosen]
    rows = data[starts[:, None] + np.arange(PATTERN.itemsize)]
    ranks = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    first = np.repeat(starts + PATTERN.itemsize, sizes) + ranks * MEMBER.itemsize
    members = data[first[:, None] + np.arange(MEMBER.itemsize)]
    return rows.view(PATTERN)[:, 0], members.view(MEMBER)[:, 0], sizes


def decode_stale(record: bytes) -> NDArray[np.void]:
    """Return the stale patterns of a block; raise ValueError when the bytes are no such record."""
    if len(record) % STALE_PATTERN.itemsize:
        raise ValueError(f"the record of stale patterns cannot have {len(record)} bytes")
    return np.frombuffer(record, STALE_PATTERN)


def add_digests(total: int, added: Iterable[int], removed: Iterable[int]) -> int:
    """Return a sum of digests after some were added and others removed."""
    return (total + sum(added) - sum(removed)) % DIGEST_MODULUS


def _mix(sums: NDArray[np.uint64]) -> NDArray[np.uint32]:
    sums ^= sums >> np.uint64(29)
    sums *= np.uint64(0xBF58476D1CE4E5B9)
    return (sums >> np.uint64(32)).astype(np.uint32)
