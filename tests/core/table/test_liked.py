from __future__ import annotations

import numpy as np

from constellation.core.rows import LIKED, LikedRows
from constellation.core.table.liked import LikedTable


def make_rows(*lists: list[int]) -> LikedRows:
    rows = np.zeros(len(lists), LIKED)
    for row, numbers in zip(rows["contents"], lists, strict=True):
        row[: len(numbers)] = numbers
    return rows


def read(table: LikedTable, *devices: int) -> list[list[int]]:
    rows = table.read(np.array(devices, np.int64))["contents"]
    return [row[row > 0].tolist() for row in rows]


def test_devices_are_read_as_they_were_put_and_others_are_empty() -> None:
    table = LikedTable(100)

    table.put(np.array([70, 3]), make_rows([5, 6], [9]))
    table.put(np.array([3, 8]), make_rows([1, 9], [2]))

    assert read(table, 3, 70, 8, 4, -1) == [[1, 9], [5, 6], [2], [], []]
    assert table.has(np.array([4, 70])).tolist() == [False, True]
    assert (len(table), table.content_count) == (3, 5)
    assert sorted(table.list_devices().tolist()) == [3, 8, 70]


def test_a_removed_device_leaves_nothing_and_its_row_is_used_again() -> None:
    table = LikedTable(100)
    table.put(np.array([1, 2]), make_rows([5, 6], [9]))
    table.remove(np.array([1]))

    before = table.nbytes
    table.put(np.array([4]), make_rows([7]))

    assert read(table, 1, 2, 4) == [[], [9], [7]]
    assert (len(table), table.content_count) == (2, 2)
    assert table.nbytes == before


def test_a_contributing_device_takes_at_most_600_bytes_also_when_few_of_many_contribute() -> None:
    table = LikedTable(4_000_000)
    devices = np.random.default_rng(1).choice(4_000_000, 40_000, replace=False)
    rows = np.zeros(1000, LIKED)
    rows["contents"] = np.arange(1, 129)

    largest = 0.0
    for start in range(0, len(devices), 1000):
        table.put(devices[start : start + 1000], rows)
        if len(table) >= 10_000:
            largest = max(largest, table.nbytes / len(table))

    assert largest <= 600
