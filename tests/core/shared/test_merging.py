from __future__ import annotations

import numpy as np
import pytest

from constellation.core.rows import PATTERN, PatternRows
from constellation.core.shared.merging import merge_groups
from constellation.core.table.standing import SupportFloor

NOW = 1_800_000_123.0
DAY = 1_800_000_123 // 86_400 * 86_400
ALL_GENRES = np.ones(10, np.bool_)
THREE = SupportFloor(3)


def make_members(count: int, **columns: object) -> PatternRows:
    rows = np.zeros(count, PATTERN)
    rows["codes"][:, 0] = 100
    rows["success_rate"], rows["sample_count"] = 0.8, 3
    for name, values in columns.items():
        rows[name] = values
    return rows


def merge(
    members: PatternRows,
    sizes: list[int] | None = None,
    *,
    origins: list[int] | None = None,
    floor: SupportFloor = THREE,
    genres: np.ndarray[tuple[int], np.dtype[np.bool_]] = ALL_GENRES,
) -> PatternRows:
    numbers = np.array(origins or [1] * len(members), np.uint8)
    sizes = sizes or [len(members)]
    return merge_groups(members, np.array(sizes), numbers, genres, floor=floor, now=NOW)


def name_contents(members: PatternRows, names: list[list[int]]) -> PatternRows:
    for row, numbers in enumerate(names):
        members["contents"][row, : len(numbers)] = numbers
    return members


def test_a_content_item_is_named_once_enough_members_have_it() -> None:
    members = name_contents(make_members(4), [[7, 9], [7, 9], [9, 7], [9]])

    merged = merge(members)

    assert merged["contents"][0, :3].tolist() == [9, 7, 0]


def test_a_member_that_names_a_content_item_twice_counts_once() -> None:
    assert not merge(name_contents(make_members(3), [[7, 7], [7], []]))["contents"].any()


def test_a_content_item_that_only_one_lot_has_is_not_named() -> None:
    members = name_contents(make_members(5), [[7, 9], [7, 9], [7, 9], [9], [9]])
    floor = SupportFloor(3, origins=2)

    assert merge(members, origins=[1, 1, 1, 2, 3], floor=floor)["contents"][0, :2].tolist() == [
        9,
        0,
    ]
    assert merge(members, origins=[1, 1, 2, 2, 3], floor=floor)["contents"][0, :2].tolist() == [
        9,
        7,
    ]


def test_groups_do_not_add_to_each_other() -> None:
    members = name_contents(make_members(6), [[7], [7], [8], [7], [8], [8]])

    assert not merge(members, [3, 3])["contents"].any()


def test_a_genre_is_named_only_when_the_catalogue_has_it() -> None:
    members = make_members(3)
    members["genres"][:, :2] = [4, 5]
    in_catalogue = ALL_GENRES.copy()
    in_catalogue[5] = False

    assert merge(members, genres=in_catalogue)["genres"][0, :2].tolist() == [4, 0]


@pytest.mark.parametrize(
    ("times", "origins", "expected"),
    [
        ([2, 2, 2, 1], [1, 1, 2, 2], 2),
        ([2, 2, 1, 1], [1, 2, 3, 4], 0),
        ([2, 2, 2, 1], [1, 1, 1, 2], 0),
        ([0, 0, 0, 0], [1, 2, 3, 4], 0),
    ],
)
def test_the_time_of_day_is_told_when_enough_members_agree(
    times: list[int], origins: list[int], expected: int
) -> None:
    merged = merge(
        make_members(4, time_of_day=times), origins=origins, floor=SupportFloor(3, origins=2)
    )

    assert merged["time_of_day"].tolist() == [expected]


def test_success_and_samples_and_days_are_rounded() -> None:
    members = make_members(3, success_rate=[0.7, 0.8, 0.81], sample_count=[1, 9, 9])
    members["updated_at"] = NOW

    merged = merge(members)[0]

    assert merged["success_rate"] == np.float32(12 / 16)
    assert merged["sample_count"] == 4
    assert merged["created_at"] == merged["updated_at"] == DAY


def test_nothing_is_merged_of_no_groups() -> None:
    assert (
        len(
            merge_groups(
                make_members(0),
                np.empty(0, np.int64),
                np.empty(0, np.uint8),
                ALL_GENRES,
                floor=THREE,
                now=NOW,
            )
        )
        == 0
    )
