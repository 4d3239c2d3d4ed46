from __future__ import annotations

import numpy as np

from constellation.core.rows import PATTERN, PatternRows
from constellation.core.rules import Rules
from constellation.core.table.groups import STALE, GroupMembers, GroupTable, no_members

HASHES = np.arange(1, 7, dtype=np.uint32) * 0x10001


def make_rows(count: int) -> PatternRows:
    rows = np.zeros(count, PATTERN)
    rows["sample_count"] = 1
    return rows


def publish(slots: list[list[int]], first: int = 0) -> GroupTable:
    """Return a table in which these slots are in groups from `first` on."""
    groups = GroupTable(Rules(max_patterns=100_000, k_anonymity=2))
    groups.allocator.take(first + len(slots))
    numbers = np.arange(first, first + len(slots))
    members = GroupMembers(
        numbers, np.concatenate(slots), np.repeat(np.arange(len(slots)), [len(s) for s in slots])
    )
    groups.publish(make_rows(len(slots)), members, HASHES[: len(members.slots)])
    return groups


def list_members(members: GroupMembers) -> list[list[int]]:
    return [
        members.slots[members.positions == position].tolist()
        for position in range(len(members.groups))
    ]


def test_members_are_found_in_the_order_of_the_groups_asked_for() -> None:
    groups = publish([[7, 99_999], [5, 3], [4]], first=2)

    found = groups.find_members(np.array([4, 2]))

    assert list_members(found) == [[4], [7, 99_999]]
    assert found.positions.tolist() == [0, 1, 1]


def test_what_is_stale_or_freed_is_in_no_group() -> None:
    groups = publish([[7, 8, 9]])
    before = groups.find_members(np.array([0]))
    groups.owners[8] = STALE

    groups.record_commit(np.empty(0, np.int64), np.array([9]), lsn=5)

    assert list_members(groups.find_members(np.array([0]))) == [[7]]
    assert list_members(groups.keep_present(before)) == [[7]]
    assert groups.dissolving == {0}
    assert not groups.count


def test_parts_have_the_members_of_their_groups() -> None:
    groups = publish([[1, 2], [3], [4, 5]])

    parts = list(groups.find_members(np.array([2, 1, 0])).divide(2))

    assert [part.groups.tolist() for part in parts] == [[2, 1], [0]]
    assert [list_members(part) for part in parts] == [[[4, 5], [3]], [[1, 2]]]
    assert not list(no_members().divide(2))


def test_other_codes_than_those_that_were_counted_are_told_apart() -> None:
    groups = publish([[1, 2]])

    same = groups.is_counted(np.array([1, 2]), HASHES[:2])
    others = groups.is_counted(np.array([1, 2]), HASHES[1::-1])

    assert same.tolist() == [True, True]
    assert others.tolist() == [False, False]


def test_arrivals_and_moved_patterns_are_those_without_and_with_a_group() -> None:
    groups = publish([[1, 2]])
    groups.owners[5] = STALE

    groups.record_commit(np.array([1, 3, 4, 5]), np.empty(0, np.int64), lsn=2)

    assert groups.take_arrivals() == 2
    assert groups.take_moved().tolist() == [1]
    assert groups.take_arrivals() == len(groups.take_moved()) == 0


def test_a_group_that_was_dissolved_is_not_dissolved_again() -> None:
    groups = publish([[1], [2]])
    groups.take_changed()

    groups.dissolve(np.array([0]), lsn=4)
    groups.dissolve(np.array([0]), lsn=9)

    assert (groups.count, groups.rows["lsn"][0]) == (1, 4)
    assert groups.find_published().tolist() == [1]
    assert groups.take_changed().tolist() == [0]
