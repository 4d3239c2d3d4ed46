from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from federation.related.rows import RelatedRow, keep_unchanged, make_rows, quantise_weights

ROW = RelatedRow("a", ("b", "c"), (100, -50), 8)
NAMES = ["a", "b", "c"]
ALL = np.ones((3, 3), np.bool_)


def make_first_row(
    weights: list[float], limit: int = 64, shared: list[bool] | None = None
) -> RelatedRow:
    """Return the row of content item 0 with weights towards 1, 2 and so on."""
    size = len(weights) + 1
    matrix, is_shared = np.zeros((size, size)), np.zeros((size, size), np.bool_)
    matrix[0, 1:] = weights
    is_shared[0, 1:] = shared or True
    (row,) = make_rows([f"c{number}" for number in range(size)], matrix, is_shared, limit)
    return row


def test_a_row_has_the_largest_weights_by_amount_in_descending_order() -> None:
    row = make_first_row([0.1, -0.4, 0.2, 0.05, 0.3], limit=3)

    assert row.neighbours == ("c5", "c3", "c2")
    assert row.codes == (77, 51, -102)
    assert row.shift == 8


def test_equal_weights_are_ordered_and_chosen_by_content_id() -> None:
    assert make_first_row([0.25] * 12, limit=4).neighbours == ("c1", "c10", "c11", "c12")


def test_a_neighbour_that_too_few_households_share_is_not_published() -> None:
    row = make_first_row([0.5, 0.25, 0.125], shared=[False, True, True])

    assert row.neighbours == ("c2", "c3")
    assert row.codes == (64, 32)


def test_a_content_item_is_no_neighbour_of_itself_and_zeros_are_dropped() -> None:
    matrix = np.array([[9.0, 0.5, 0.001], [0.5, 9.0, 0.0], [0.001, 0.0, 9.0]])

    rows = make_rows(NAMES, matrix, ALL, 64)

    assert [row.neighbours for row in rows] == [("b",), ("a",), ("a",)]


@pytest.mark.parametrize(
    ("largest", "code", "shift"),
    [
        (1.0, 64, 6),
        (0.995, 127, 7),
        (0.9999, 64, 6),  # 128 at the next shift
        (2.0**-20, 64, 26),
        (2.0**-29, 2, 30),
        (100.0, 100, 0),
        (5000.0, 127, 0),  # more than int8 can say
    ],
)
def test_the_largest_code_is_from_64_to_127_where_a_shift_can_make_it(
    largest: float, code: int, shift: int
) -> None:
    codes, found = quantise_weights(np.array([-largest, largest / 2]))

    assert (int(codes[0]), found) == (-code, shift)


def test_an_id_names_the_content_item_and_what_its_row_says() -> None:
    others = [
        replace(ROW, content_id="b"),
        replace(ROW, neighbours=("b", "d")),
        replace(ROW, codes=(100, -49)),
        replace(ROW, shift=7),
    ]

    assert ROW.make_id()[:8] == sha256(b"a").digest()[:8]
    assert len({row.make_id() for row in (ROW, *others)}) == 5
    assert {row.make_id()[:8] == ROW.make_id()[:8] for row in others[1:]} == {True}
    assert {len(row.make_id()) for row in others} == {16}


def test_a_row_that_hardly_changed_stays_as_it_was_published() -> None:
    hardly, clearly = replace(ROW, codes=(110, -46)), replace(ROW, codes=(110, -44))

    assert keep_unchanged([hardly], [ROW], NAMES, ALL) == [ROW]
    assert keep_unchanged([clearly], [ROW], NAMES, ALL) == [clearly]
    assert keep_unchanged([hardly], [], NAMES, ALL) == [hardly]


def test_a_row_names_no_pair_that_fell_below_the_minimum_however_little_it_weighs() -> None:
    published = replace(ROW, codes=(100, -1))
    without = RelatedRow("a", ("b",), (100,), 8)
    is_shared = ALL.copy()
    is_shared[0, 2] = False

    assert keep_unchanged([without], [published], NAMES, ALL) == [published]
    assert keep_unchanged([without], [published], NAMES, is_shared) == [without]
    assert keep_unchanged([without], [published], ["a", "b"], ALL) == [without]  # c left


def test_a_row_that_is_not_made_any_more_is_removed() -> None:
    assert keep_unchanged([], [ROW], NAMES, ALL) == []
