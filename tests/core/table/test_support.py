from __future__ import annotations

import numpy as np

from constellation.core.table.support import pack_support, unpack_contents


def test_a_device_supports_a_content_item_once() -> None:
    owners = np.array([0, 0, 1])
    contents = np.array([[5, 6, 0], [6, 0, 0], [5, 0, 0]], np.uint32)

    pairs = pack_support(owners, contents)

    assert unpack_contents(pairs).tolist() == [5, 6, 5]


def test_the_greatest_numbers_are_kept_apart() -> None:
    greatest = 2**32 - 1

    pairs = pack_support(np.array([greatest, 0]), np.array([[greatest], [1]], np.uint32))

    assert unpack_contents(pairs).tolist() == [1, greatest]
