from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from federation.related.shared_pairs import find_shared
from federation.related.solve import sum_pairs
from tests.federation.liked import make_pairs

if TYPE_CHECKING:
    from constellation.federated.likes import PairRows


def make_shard(counts: dict[tuple[int, int], int], lone: set[tuple[int, int]]) -> PairRows:
    """Return the pairs of a shard; those in `lone` have devices of too few origins."""
    return replace(
        make_pairs(counts, 3), unsupported=np.array([each in lone for each in sorted(counts)])
    )


def find_pairs(*shards: PairRows, least: int = 10) -> list[tuple[int, int]]:
    gram = sum_pairs(np.full(3, 100), shards)
    is_shared = find_shared(gram, shards, least)
    assert (is_shared == is_shared.T).all()
    rows, columns = np.nonzero(np.triu(is_shared, 1))
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def test_a_pair_is_shared_by_the_households_of_all_shards() -> None:
    first, second = make_pairs({(0, 1): 6, (0, 2): 5}, 3), make_pairs({(0, 1): 4, (0, 2): 4}, 3)

    assert find_pairs(first, second) == [(0, 1)]


def test_households_of_one_lot_do_not_make_a_pair_shared() -> None:
    made_up = make_shard({(0, 1): 90, (0, 2): 90, (1, 2): 90}, lone={(0, 1), (1, 2)})
    honest = make_shard({(0, 1): 9, (1, 2): 10}, lone=set())

    assert find_pairs(made_up, honest) == [(0, 2), (1, 2)]


def test_a_lot_that_is_spread_over_shards_counts_in_none() -> None:
    made_up = make_shard({(0, 1): 9}, lone={(0, 1)})

    assert find_pairs(*[made_up] * 20, make_shard({(0, 1): 1}, lone={(0, 1)})) == []
