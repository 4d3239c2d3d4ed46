from __future__ import annotations

import numpy as np
import pytest

from constellation.core.table.hash_index import HashIndex


@pytest.mark.parametrize("seed", range(4))
def test_an_index_equals_a_dict_through_a_long_random_sequence(seed: int) -> None:
    random = np.random.default_rng(seed)
    index, model = HashIndex(width=2, capacity=16), dict[tuple[int, ...], int]()

    for step in range(300):
        keys = np.unique(
            random.integers(0, 40, size=(random.integers(1, 40), 2), dtype=np.uint64), axis=0
        )
        found = index.find(keys)
        assert found.tolist() == [model.get(tuple(key), -1) for key in keys.tolist()]
        assert found.tolist() == [index.find_one(*key) for key in keys.tolist()]
        absent = keys[found < 0]
        rows = np.arange(len(absent)) + step * 1000
        index.put(absent, rows)
        model |= dict(zip(map(tuple, absent.tolist()), rows.tolist(), strict=True))
        gone = keys[found >= 0][::2]
        index.remove(gone)
        for key in gone.tolist():
            del model[tuple(key)]

        assert len(index) == len(model)


def test_a_repeated_key_is_found_each_time() -> None:
    index = HashIndex(width=2)
    index.put(np.array([[1, 2]], np.uint64), np.array([7]))

    found = index.find(np.array([[1, 2], [9, 9], [1, 2]], np.uint64))

    assert found.tolist() == [7, -1, 7]


def test_many_keys_in_one_batch_all_find_a_place() -> None:
    keys = np.random.default_rng(3).integers(0, 2**63, size=(20_000, 3), dtype=np.uint64)
    index = HashIndex(width=3, capacity=16)

    index.put(keys, np.arange(len(keys)))

    assert (index.find(keys) == np.arange(len(keys))).all()
    assert [index.find_one(*key) for key in keys[:500].tolist()] == list(range(500))
