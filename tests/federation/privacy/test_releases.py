from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from federation.privacy.gaussian import add_noise
from federation.privacy.releases import release_named_counts, release_pairs

if TYPE_CHECKING:
    from constellation.federated.fixed_point import Integers


def test_names_below_the_threshold_are_not_released() -> None:
    names = [f"film:{number}" for number in range(300)]
    devices = np.array([1] * 100 + [1000] * 100 + [0] * 100)

    released = release_named_counts(names, devices, 300, 40.0, add_noise)

    assert sorted(released) == sorted(names[100:200])
    assert list(released) == sorted(released)
    assert abs(np.mean(list(released.values())) - 1000) < 40
    assert min(released.values()) >= 300


def test_a_released_count_is_hardly_ever_the_exact_one() -> None:
    devices = np.full(1000, 5000)

    released = release_named_counts([str(n) for n in range(1000)], devices, 10, 80.0, add_noise)

    assert sum(count == 5000 for count in released.values()) < 30


def test_every_pair_gets_noise_once_and_the_diagonal_none() -> None:
    gram = np.zeros((60, 60))
    gram[0, 1] = gram[1, 0] = 500

    noised = release_pairs(gram, 30.0, add_noise)

    assert (noised == noised.T).all()
    assert not noised.diagonal().any()
    cells = (noised - gram)[np.triu_indices(60, 1)]
    assert np.count_nonzero(cells) > 0.95 * len(cells)  # also pairs that no device likes
    assert cells.std() == pytest.approx(30, rel=0.1)


def test_pairs_are_released_as_whole_numbers() -> None:
    seen: list[Integers] = []

    def note(values: Integers, _: float) -> Integers:
        seen.append(values)
        return values

    release_pairs(np.array([[9.0, 2, 3], [2, 9, 4], [3, 4, 9]]), 1.0, note)

    assert [each.tolist() for each in seen] == [[2, 3], [4]]
    assert all(each.dtype == np.int64 for each in seen)
