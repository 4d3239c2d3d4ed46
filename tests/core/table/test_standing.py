from __future__ import annotations

import numpy as np
import pytest

from constellation.core.rows import DEVICE, DeviceRows
from constellation.core.table.standing import Standing, compute_standing, note_activity

TODAY = 20_000


def make_rows(count: int = 1, **columns: int) -> DeviceRows:
    rows = np.zeros(count, DEVICE)
    rows["incarnation"] = 1
    for name, value in columns.items():
        rows[name] = value
    return rows


@pytest.mark.parametrize(
    ("age", "active_days", "min_age", "expected"),
    [
        (7, 3, 7, 1),
        (6, 6, 7, 0),
        (70, 2, 7, 0),
        (0, 0, 0, 1),
        (1, 1, 1, 1),
        (1, 0, 1, 0),
        (2, 2, 2, 1),
    ],
)
def test_a_device_counts_once_it_is_old_enough_and_was_active(
    age: int, active_days: int, min_age: int, expected: int
) -> None:
    rows = make_rows(first_day=TODAY - age, active_days=active_days)

    assert compute_standing(rows, TODAY, min_age).tolist() == [expected]


def test_a_device_from_before_days_were_recorded_counts() -> None:
    assert compute_standing(make_rows(first_day=0), TODAY, 7).tolist() == [1]


def test_neither_quarantined_devices_nor_free_rows_count() -> None:
    assert compute_standing(make_rows(quarantined=1), TODAY, 0).tolist() == [0]
    assert compute_standing(make_rows(incarnation=0), TODAY, 0).tolist() == [0]


def test_the_lot_is_the_origin_and_the_network_stands_in_for_an_unknown_one() -> None:
    both, network = make_rows(lot=3, network=9), make_rows(network=9)

    assert compute_standing(both, TODAY, 0).tolist() == [4]
    assert compute_standing(network, TODAY, 0).tolist() == [10]


def test_a_day_counts_once_however_often_a_device_is_active() -> None:
    rows = make_rows(2)

    for day in (TODAY, TODAY, TODAY + 1, TODAY - 3):
        note_activity(rows, np.array([True, False]), day)

    assert rows["active_days"].tolist() == [2, 0]
    assert rows["active_day"].tolist() == [TODAY + 1, 0]


def test_the_count_of_days_does_not_overflow() -> None:
    rows = make_rows(active_days=254)

    for day in range(TODAY, TODAY + 3):
        note_activity(rows, np.array([True]), day)

    assert rows["active_days"].tolist() == [255]


@pytest.mark.parametrize(
    ("devices_by_origin", "required"),
    [
        ([], 1),
        ([1000], 1),
        ([10_000, 1], 1),
        ([500, 500], 2),
        ([90, 10], 1),
        ([10] * 5, 5),
        ([10] * 16, 5),
        ([100, 100, 100], 3),
    ],
)
def test_k_counts_origins_as_far_as_there_are_several(
    devices_by_origin: list[int], required: int
) -> None:
    standing = Standing(20_000)
    numbers = np.repeat(np.arange(1, len(devices_by_origin) + 1), devices_by_origin)
    standing.set(np.arange(len(numbers)), numbers.astype(np.uint8))

    assert standing.require_origins(5) == required
    assert standing.counted == sum(devices_by_origin)

    standing.set(np.arange(len(numbers)), np.zeros(len(numbers), np.uint8))
    assert (standing.require_origins(5), standing.counted) == (1, 0)
