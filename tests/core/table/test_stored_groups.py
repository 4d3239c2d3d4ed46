from __future__ import annotations

import numpy as np
import pytest

from constellation.core.rows import PATTERN
from constellation.core.store import GroupRecords
from constellation.core.table.stored_groups import (
    MEMBER,
    decode_groups,
    encode_groups,
    encode_stale,
    hash_identities,
    hash_identities_at,
)

RANDOM = np.random.default_rng(4)
SIZES = np.array([3, 1, 5], np.int64)


def make_rows(count: int) -> np.ndarray:
    return np.frombuffer(RANDOM.bytes(count * PATTERN.itemsize), PATTERN)


def make_members() -> np.ndarray:
    return np.frombuffer(RANDOM.bytes(int(SIZES.sum()) * MEMBER.itemsize), MEMBER)


def test_groups_are_decoded_as_they_were_encoded_and_others_are_left_out() -> None:
    rows, members = make_rows(3), make_members()
    groups = encode_groups(np.array([4, 5, 9]), rows, members, SIZES)
    number, stale = encode_stale(2, np.array([7]), make_rows(1))
    parts = groups.to_list()
    records = GroupRecords.from_list([8, number, 10, 18], [parts[0], stale, *parts[1:]])

    found, found_members, sizes = decode_groups(records, records.numbers % 2 == 0)

    assert found.tobytes() == rows.tobytes()
    assert found_members.tobytes() == members.tobytes()
    assert sizes.tolist() == SIZES.tolist()


@pytest.mark.parametrize("length", [0, PATTERN.itemsize, PATTERN.itemsize + MEMBER.itemsize + 1])
def test_a_record_of_another_length_is_refused(length: int) -> None:
    records = GroupRecords.from_list([2], [bytes(length)])

    with pytest.raises(ValueError, match=f"cannot have {length} bytes"):
        decode_groups(records, np.array([True]))


def test_an_identity_is_that_of_the_device_and_the_pattern_id_alone() -> None:
    rows = make_rows(4).copy()
    before = hash_identities(rows)

    rows["codes"], rows["lsn"] = 1, 99

    slots = np.array([2, 0, 2])
    np.testing.assert_array_equal(hash_identities_at(rows, slots), before[slots])
    rows["device"] += np.uint32(1)
    assert (hash_identities(rows) != before).all()
