"""The floor of related content: which pairs enough households like to be published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.federated.likes import PairRows


def find_shared(
    gram: NDArray[np.float64], parts: Sequence[PairRows], least: int
) -> NDArray[np.bool_]:
    """Return which pairs at least `least` households like, shape (n, n).

    `gram` has how many do, `parts` the pairs of each shard. The households of a shard do not count
    where they are of too few origins: they may all be of one lot, made up by one party.
    """
    is_shared: NDArray[np.bool_] = gram >= least
    lacking: dict[tuple[int, int], int] = {}
    for pairs in parts:
        if not pairs.unsupported.any():
            continue
        rows = np.repeat(pairs.rows, pairs.lengths)
        # Only what would be published matters: few of the pairs that have few devices.
        chosen = pairs.unsupported & is_shared[rows, pairs.columns]
        for row, column, devices in zip(
            rows[chosen].tolist(),
            pairs.columns[chosen].tolist(),
            pairs.devices[chosen].tolist(),
            strict=True,
        ):
            lacking[row, column] = lacking.get((row, column), 0) + devices
    for (row, column), devices in lacking.items():
        if gram[row, column] - devices < least:
            is_shared[row, column] = is_shared[column, row] = False
    return is_shared
