from __future__ import annotations

import numpy as np

from constellation_settop import Catalogue
from constellation_settop.recommending.diversity import MAX_ALIKE, MAX_PLACES, diversify
from tests.clients.samples import make_unit_rows


def make_sequels(series: int, parts: int) -> Catalogue:
    """Return content items "s-p", where the parts of one series are almost the same."""
    rows = np.repeat(make_unit_rows(series), parts, axis=0) + 0.05 * make_unit_rows(
        series * parts, 2
    )
    names = [f"{each}-{part}" for each in range(series) for part in range(parts)]
    return Catalogue(names, rows.astype(np.float32))


def test_a_list_has_few_sequels_and_keeps_its_order() -> None:
    catalogue = make_sequels(series=5, parts=4)

    chosen = diversify(catalogue, np.arange(20), 8)

    names = [catalogue.content_ids[row] for row in chosen]
    assert names == ["0-0", "0-1", "1-0", "1-1", "2-0", "2-1", "3-0", "3-1"]
    assert MAX_ALIKE == 2


def test_sequels_fill_the_list_when_there_is_nothing_else() -> None:
    catalogue = make_sequels(series=1, parts=10)

    assert diversify(catalogue, np.arange(10), 6).tolist() == [0, 1, 2, 3, 4, 5]


def test_a_short_list_is_taken_as_it_is() -> None:
    catalogue = make_sequels(series=1, parts=3)

    assert diversify(catalogue, np.arange(3), 2).tolist() == [0, 1]
    assert diversify(catalogue, np.arange(0), 2).tolist() == []


def test_only_the_top_of_a_long_list_is_diverse_and_nothing_is_lost() -> None:
    catalogue = make_sequels(series=40, parts=10)

    chosen = diversify(catalogue, np.arange(400), 300).tolist()

    assert len(set(chosen)) == 300
    assert chosen[:4] == [0, 1, 10, 11]
    rest = chosen[MAX_PLACES:]
    assert rest == sorted(rest)
