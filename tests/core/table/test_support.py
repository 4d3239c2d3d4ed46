from __future__ import annotations

import numpy as np

from constellation.core.table.support import SupportCounts, Supports, pack_support


def test_a_device_supports_a_content_item_once() -> None:
    owners = np.array([0, 0, 1])
    contents = np.array([[5, 6, 0], [6, 0, 0], [5, 0, 0]], np.uint32)

    supports = Supports.unpack(pack_support(owners, contents), np.array([3, 4], np.uint8))

    assert supports.contents.tolist() == [5, 6, 5]
    assert supports.origins.tolist() == [3, 3, 4]


def test_the_greatest_numbers_are_kept_apart() -> None:
    greatest = 2**32 - 1

    pairs = pack_support(np.array([1, 0]), np.array([[greatest], [1]], np.uint32))

    assert Supports.unpack(pairs, np.ones(2, np.uint8)).contents.tolist() == [1, greatest]


def test_a_device_that_does_not_count_supports_nothing() -> None:
    pairs = pack_support(np.array([0, 1]), np.array([[5], [6]], np.uint32))

    supports = Supports.unpack(pairs, np.array([0, 2], np.uint8))

    assert (supports.contents.tolist(), supports.origins.tolist()) == ([6], [2])


def test_what_is_taken_back_is_exactly_what_was_counted() -> None:
    counts = SupportCounts(10)
    supports = Supports(np.array([5, 5, 6]), np.array([1, 2, 16], np.uint8))
    more = Supports(np.array([5, 5]), np.array([2, 3], np.uint8))

    counts.add(supports)
    counts.add(more)
    assert counts.devices[[5, 6, 7]].tolist() == [4, 1, 0]
    assert counts.count_origins(np.array([5, 6, 7])).tolist() == [3, 1, 0]

    counts.remove(supports)
    assert counts.devices[[5, 6, 7]].tolist() == [2, 0, 0]
    assert counts.count_origins(np.array([5, 6, 7])).tolist() == [2, 0, 0]
