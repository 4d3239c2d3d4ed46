"""Rows of pairs are selected and joined with all of their columns."""

from __future__ import annotations

import numpy as np

from constellation.federated.likes import PairRows, join_pairs, no_pairs


def make_rows(
    rows: list[int], version: int, cells: list[list[int]], unsupported: list[bool] | None = None
) -> PairRows:
    columns = [column for row in cells for column in row]
    return PairRows(
        np.array(rows),
        np.full(len(rows), version),
        np.array([len(row) for row in cells], np.int64),
        np.array(columns, np.uint16),
        np.array([100 * version + column for column in columns], np.uint32),
        np.array(unsupported or [], np.bool_),
    )


def to_dict(pairs: PairRows) -> dict[int, tuple[int, dict[int, int]]]:
    """Return the version of each row, and its devices by column."""
    starts = pairs.find_starts().tolist()
    return {
        row: (
            version,
            dict(
                zip(
                    pairs.columns[start:end].tolist(),
                    pairs.devices[start:end].tolist(),
                    strict=True,
                )
            ),
        )
        for row, version, start, end in zip(
            pairs.rows.tolist(), pairs.versions.tolist(), starts, starts[1:], strict=False
        )
    }


def test_the_latest_version_of_each_row_wins_whatever_the_order_of_the_parts() -> None:
    old, new = make_rows([1, 4], 1, [[2, 3], [9]]), make_rows([0, 4], 2, [[5], []])

    expected = {0: (2, {5: 205}), 1: (1, {2: 102, 3: 103}), 4: (2, {})}

    assert to_dict(join_pairs([old, new])) == to_dict(join_pairs([new, old])) == expected


def test_a_part_alone_that_is_in_order_is_returned_as_it_is() -> None:
    part = make_rows([1, 4], 1, [[2], [9]])

    assert join_pairs([part]) is part


def test_a_part_alone_that_is_out_of_order_is_sorted() -> None:
    assert list(to_dict(join_pairs([make_rows([4, 1], 1, [[9], [2]])]))) == [1, 4]


def test_no_parts_have_no_rows() -> None:
    assert len(join_pairs([])) == len(no_pairs()) == 0


def test_marks_of_too_few_origins_stay_with_their_pairs() -> None:
    marked = make_rows([1], 1, [[2, 3]], [True, False])
    unmarked = make_rows([0], 1, [[7]])

    joined = join_pairs([marked, unmarked])

    assert joined.columns.tolist() == [7, 2, 3]
    assert joined.mark_unsupported().tolist() == [False, True, False]
    assert joined.select(np.array([1])).unsupported.tolist() == [True, False]


def test_chosen_rows_keep_their_pairs() -> None:
    rows = make_rows([1, 4, 6], 3, [[2, 3], [], [9]])

    assert to_dict(rows.select(np.array([0, 2]))) == {1: (3, {2: 302, 3: 303}), 6: (3, {9: 309})}
    assert not rows.select(np.array([0])).mark_unsupported().any()
