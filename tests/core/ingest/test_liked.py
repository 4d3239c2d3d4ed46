from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.core.ingest.liked import LikedChanges, LikedWrites
from constellation.core.rows import MAX_LIKED
from constellation.core.table.liked import LikedTable

DEVICES = np.array([4, -1, 9], np.int64)
"""The row numbers of the devices of a group; the second is new."""
SLOTS = np.array([4, 7, 9], np.int64)
"""Their row numbers after the commit."""
CONTENTS = st.integers(1, 12)
STEPS = st.one_of(
    st.tuples(st.just("add"), st.lists(CONTENTS, min_size=1, max_size=12)),
    st.tuples(st.just("withdraw"), st.lists(CONTENTS, max_size=4)),
    st.tuples(st.just("replace"), st.lists(CONTENTS, max_size=12, unique=True)),
)


class LikedByHand:
    """What devices liked, one list for each device."""

    def __init__(self) -> None:
        self.lists: dict[int, list[int]] = {}

    def change(self, position: int, kind: str, contents: list[int]) -> None:
        liked = [] if kind == "replace" else self.lists.get(position, [])
        if kind == "withdraw":
            liked = [each for each in liked if each not in contents]
        else:
            for content in contents:
                liked = [*(each for each in liked if each != content), content]
        self.lists[position] = liked[-MAX_LIKED:]


def apply(table: LikedTable, writes: LikedWrites) -> None:
    table.put(writes.devices, writes.rows)
    table.remove(writes.freed)


def read(table: LikedTable) -> list[list[int]]:
    """Return what each of SLOTS liked, the latest last."""
    return [row[row > 0][::-1].tolist() for row in table.read(SLOTS)["contents"]]


def change(changes: LikedChanges, position: int, kind: str, contents: list[int]) -> None:
    match kind:
        case "add":
            for content in contents:
                changes.add(position, content)
        case "withdraw":
            changes.withdraw(position, contents)
        case _:
            changes.replace(position, contents)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 2), STEPS), max_size=6), max_size=4))
def test_commits_change_lists_as_one_step_after_another_would(
    commits: list[list[tuple[int, tuple[str, list[int]]]]],
) -> None:
    table, by_hand = LikedTable(20), LikedByHand()
    devices = DEVICES
    for steps in commits:
        changes = LikedChanges(table, devices)
        for position, (kind, contents) in steps:
            change(changes, position, kind, contents)
            by_hand.change(position, kind, contents)
        apply(table, changes.to_writes(range(3), SLOTS))
        devices = SLOTS

        assert read(table) == [by_hand.lists.get(position, []) for position in range(3)]


def test_the_oldest_content_beyond_the_limit_is_forgotten() -> None:
    table = LikedTable(20)
    for start in range(1, 401, 5):
        changes = LikedChanges(table, SLOTS)
        for content in range(start, start + 5):
            changes.add(0, content)
        changes.replace(1, range(1, start + 5))
        apply(table, changes.to_writes(range(3), SLOTS))

    latest = list(range(400 - MAX_LIKED + 1, 401))
    assert read(table) == [latest, latest, []]


def test_what_does_not_change_is_not_written() -> None:
    table = LikedTable(20)
    changes = LikedChanges(table, SLOTS)
    changes.add(0, 5)
    changes.replace(1, [1, 2])
    apply(table, changes.to_writes(range(3), SLOTS))

    changes = LikedChanges(table, SLOTS)
    changes.add(0, 5)
    changes.replace(1, [1, 2])
    changes.withdraw(2, [7])
    writes = changes.to_writes(range(3), SLOTS)

    assert not len(writes.devices)
    assert not len(writes.freed)


def test_a_list_that_becomes_empty_is_deleted() -> None:
    table = LikedTable(20)
    changes = LikedChanges(table, SLOTS)
    changes.add(0, 5)
    apply(table, changes.to_writes(range(3), SLOTS))

    changes = LikedChanges(table, SLOTS)
    changes.withdraw(0, [5])
    writes = changes.to_writes(range(3), SLOTS)

    assert writes.freed.tolist() == [4]
    apply(table, writes)
    assert len(table) == 0
