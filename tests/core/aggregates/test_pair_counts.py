from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.aggregates import pair_counts
from constellation.core.aggregates.pair_counts import RequiredOrigins, count_pairs, hash_pair_rows

if TYPE_CHECKING:
    from constellation.federated.likes import PairRows


def make_lists(random: np.random.Generator, devices: int, contents: int) -> np.ndarray:
    """Return random lists of distinct content numbers, from 1 on, of every length up to 128."""
    lists = np.zeros((devices, 128), np.uint32)
    for row in lists:
        length = int(random.integers(0, min(128, contents) + 1))
        row[:length] = random.permutation(contents)[:length] + 1
    return lists


def to_cells(pairs: PairRows) -> dict[tuple[int, int], int]:
    rows = np.repeat(pairs.rows, pairs.lengths).tolist()
    cells = zip(rows, pairs.columns.tolist(), strict=True)
    return dict(zip(cells, pairs.devices.tolist(), strict=True))


def count_by_hand(
    lists: np.ndarray, positions: np.ndarray, size: int
) -> dict[tuple[int, int], int]:
    matrix = np.zeros((len(lists), size + 1), np.int64)
    for row, numbers in zip(matrix, lists, strict=True):
        row[positions[numbers]] = 1
    products = matrix.T @ matrix
    return {
        (row, column): int(products[row, column])
        for row in range(size)
        for column in range(row + 1, size)
        if products[row, column]
    }


@pytest.mark.parametrize("block", [3, 4096])
@pytest.mark.parametrize("seed", range(5))
def test_the_counts_are_the_products_of_the_devices_content(
    monkeypatch: pytest.MonkeyPatch, seed: int, block: int
) -> None:
    monkeypatch.setattr(pair_counts, "_BLOCK_DEVICES", block)
    monkeypatch.setattr(pair_counts, "_BLOCK_ENTRIES", block)
    random = np.random.default_rng(seed)
    contents, size = int(random.integers(2, 40)), int(random.integers(1, 20))
    lists = make_lists(random, 60, contents)
    positions = np.full(contents + 1, size, np.uint16)
    named = random.permutation(contents)[: min(size, contents)] + 1
    positions[named] = random.permutation(size)[: len(named)]

    pairs = count_pairs(lists, positions, size)

    assert pairs.rows.tolist() == list(range(size))
    assert to_cells(pairs) == count_by_hand(lists, positions, size)


@pytest.mark.parametrize("block", [7, 4096])
@pytest.mark.parametrize("least", [1, 3, 5])
def test_pairs_of_devices_of_too_few_origins_are_marked(
    monkeypatch: pytest.MonkeyPatch, least: int, block: int
) -> None:
    monkeypatch.setattr(pair_counts, "_BLOCK_DEVICES", block)
    random = np.random.default_rng(3)
    lists = make_lists(random, 12, 40)
    positions = np.append(np.uint16(40), random.permutation(40).astype(np.uint16))
    origins = random.integers(1, 7, len(lists)).astype(np.uint8)

    pairs = count_pairs(lists, positions, 40, RequiredOrigins(least, origins))

    assert to_cells(pairs) == count_by_hand(lists, positions, 40)
    has = np.zeros((len(lists), 41), np.bool_)
    for row, numbers in zip(has, lists, strict=True):
        row[positions[numbers]] = True
    expected = [
        len(np.unique(origins[has[:, row] & has[:, column]])) < least
        for row, column in to_cells(pairs)
    ]
    assert pairs.unsupported.tolist() == expected
    assert any(expected) == (least > 1)


def test_without_a_dictionary_or_devices_there_are_no_pairs() -> None:
    nothing = np.zeros((0, 128), np.uint32)

    assert len(count_pairs(nothing, np.zeros(1, np.uint16), 0)) == 0
    assert count_pairs(nothing, np.full(1, 3, np.uint16), 3).lengths.tolist() == [0, 0, 0]


def test_a_hash_changes_with_its_row_alone() -> None:
    random = np.random.default_rng(1)
    lists, positions = make_lists(random, 60, 10), np.arange(11, dtype=np.uint16)
    positions[0] = 11
    before = count_pairs(lists, positions, 11)
    lists = np.concatenate([lists, np.zeros((1, 128), np.uint32)])
    lists[-1, :2] = 8, 4

    after = count_pairs(lists, positions, 11)

    changed = np.flatnonzero(hash_pair_rows(before) != hash_pair_rows(after))
    assert changed.tolist() == [4]
