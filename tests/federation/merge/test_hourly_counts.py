from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.trends import WINDOW_HOURS
from federation.merge.hourly_counts import HourlyCells, HourlyWindow

if TYPE_CHECKING:
    from collections.abc import Mapping

HOUR = 500_000


def make_cells(counts: Mapping[tuple[int, int], int]) -> HourlyCells:
    """Return cells of (subject, hour)."""
    keys = np.array(list(counts), np.int64).reshape(-1, 2)
    return HourlyCells(keys[:, 0], keys[:, 1], np.array(list(counts.values()), np.int64))


def to_counts(cells: HourlyCells) -> dict[tuple[int, int], int]:
    keys = zip(cells.subjects.tolist(), cells.hours.tolist(), strict=True)
    return dict(zip(keys, cells.devices.tolist(), strict=True))


def test_a_window_gives_back_what_was_joined() -> None:
    counts = {(3, HOUR): 7, (3, HOUR - 5): 2, (-1, HOUR): 4}

    window = HourlyWindow().join(make_cells(counts), 1)

    assert to_counts(window.to_cells()) == counts
    assert window.newest_hour == HOUR


def test_the_larger_count_of_a_cell_remains() -> None:
    window = HourlyWindow().join(make_cells({(3, HOUR): 7, (4, HOUR): 1}), 1)

    window = window.join(make_cells({(3, HOUR): 5, (4, HOUR): 9}), 2)

    assert to_counts(window.to_cells()) == {(3, HOUR): 7, (4, HOUR): 9}


def test_a_join_leaves_the_old_window_unchanged() -> None:
    old = HourlyWindow().join(make_cells({(3, HOUR): 7}), 1)

    old.join(make_cells({(3, HOUR): 9}), 2)

    assert to_counts(old.to_cells()) == {(3, HOUR): 7}


def test_hours_that_fall_out_of_the_window_are_dropped_with_their_subjects() -> None:
    window = HourlyWindow().join(make_cells({(3, HOUR): 7, (4, HOUR + 1): 8}), 1)

    window = window.join(make_cells({(5, HOUR + WINDOW_HOURS): 1}), 2)

    assert to_counts(window.to_cells()) == {(4, HOUR + 1): 8, (5, HOUR + WINDOW_HOURS): 1}
    assert window.subjects.tolist() == [4, 5]


def test_a_cell_older_than_the_window_is_ignored() -> None:
    window = HourlyWindow().join(make_cells({(3, HOUR): 7}), 1)

    window = window.join(make_cells({(3, HOUR - WINDOW_HOURS): 5}), 2)

    assert to_counts(window.to_cells()) == {(3, HOUR): 7}


def test_changes_after_a_version_are_returned_with_their_current_counts() -> None:
    window = HourlyWindow().join(make_cells({(3, HOUR): 7}), 1)
    window = window.join(make_cells({(4, HOUR): 2}), 2).join(make_cells({(4, HOUR): 6}), 3)

    after_first, after_second = window.select_changes(1), window.select_changes(2)

    assert after_first is not None
    assert to_counts(after_first) == {(4, HOUR): 6}
    assert after_second is not None
    assert to_counts(after_second) == {(4, HOUR): 6}


def test_changes_after_the_newest_version_are_none() -> None:
    window = HourlyWindow().join(make_cells({(3, HOUR): 7}), 1)

    changes = window.select_changes(1)

    assert changes is not None
    assert to_counts(changes) == {}


def test_changes_after_an_unknown_version_are_not_known() -> None:
    window = HourlyWindow().join(make_cells({(3, HOUR): 7}), 5)

    assert window.select_changes(4) is None


def test_changes_after_a_version_long_ago_are_not_known() -> None:
    window = HourlyWindow()
    for version in range(1, 66):
        window = window.join(make_cells({(3, HOUR): version}), version)

    assert window.select_changes(1) is None
    assert window.select_changes(2) is not None


def test_counts_are_aligned_to_an_hour() -> None:
    window = HourlyWindow().join(make_cells({(3, HOUR): 7, (3, HOUR - 1): 5}), 1)

    later, earlier = window.align_to(HOUR + 2), window.align_to(HOUR - 1)

    assert later.shape == (WINDOW_HOURS, 1)
    assert later[-4:, 0].tolist() == [5, 7, 0, 0]
    assert earlier[-2:, 0].tolist() == [0, 5]


def test_counts_of_another_week_are_aligned_to_zeros() -> None:
    window = HourlyWindow().join(make_cells({(3, HOUR): 7}), 1)

    assert not window.align_to(HOUR + WINDOW_HOURS).any()
