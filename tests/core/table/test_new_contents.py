from __future__ import annotations

import numpy as np

from constellation.core.table.new_contents import NewContentCounts


def test_counts_hold_for_one_hour_and_device() -> None:
    counts = NewContentCounts(max_devices=4)
    counts.write(np.array([2, 0]), 7, np.array([5, 65_535]))

    devices = np.array([0, 1, 2, -1])
    assert counts.read(devices, 7).tolist() == [65_535, 0, 5, 0]
    assert not counts.read(devices, 8).any()


def test_the_next_device_in_a_row_begins_with_nothing() -> None:
    counts = NewContentCounts(max_devices=4)
    counts.write(np.array([2]), 7, np.array([5]))

    counts.forget(np.array([2]))

    assert counts.read(np.array([2]), 7).tolist() == [0]
