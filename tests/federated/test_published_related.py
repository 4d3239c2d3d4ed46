"""Rows of related content are selected with only the content items that they name."""

from __future__ import annotations

import numpy as np

from constellation.federated.published_related import (
    PublishedRelated,
    no_related,
    pack_row_ids,
    unpack_row_ids,
)

ROWS = {"a": {"x": 5, "b": -7}, "b": {}, "c": {"x": 90}}
IDS = np.array([[1, 2**63], [3, 4], [5, 6]], np.uint64)


def make_published() -> PublishedRelated:
    content_ids = ["x", "a", "b", "c"]
    neighbours = [
        (content_ids.index(name), weight) for row in ROWS.values() for name, weight in row.items()
    ]
    return PublishedRelated(
        IDS,
        content_ids,
        np.array([content_ids.index(name) for name in ROWS]),
        np.array([len(row) for row in ROWS.values()]),
        np.array([index for index, _ in neighbours]),
        np.array([weight for _, weight in neighbours], np.int8),
        np.array([4, 5, 6], np.uint8),
    )


def to_rows(related: PublishedRelated) -> dict[str, dict[str, int]]:
    ends = np.cumsum(related.lengths).tolist()
    starts = [0, *ends]
    return {
        related.content_ids[content]: {
            related.content_ids[index]: weight
            for index, weight in zip(
                related.neighbours[start:end].tolist(),
                related.weights[start:end].tolist(),
                strict=True,
            )
        }
        for content, start, end in zip(related.contents.tolist(), starts, ends, strict=False)
    }


def test_selected_rows_are_whole_and_name_nothing_else() -> None:
    chosen = make_published().select(np.array([2, 1]))

    assert to_rows(chosen) == {"c": ROWS["c"], "b": ROWS["b"]}
    assert sorted(chosen.content_ids) == ["b", "c", "x"]
    assert chosen.shifts.tolist() == [6, 5]
    assert chosen.ids.tolist() == IDS[[2, 1]].tolist()


def test_selecting_all_rows_changes_nothing() -> None:
    assert to_rows(make_published().select(np.arange(3))) == ROWS


def test_no_rows_can_be_selected() -> None:
    assert len(make_published().select(np.empty(0, np.int64))) == len(no_related()) == 0


def test_ids_survive_as_the_bytes_that_devices_hold() -> None:
    packed = pack_row_ids(IDS)

    assert packed[:16] == (1).to_bytes(8, "big") + (2**63).to_bytes(8, "big")
    np.testing.assert_array_equal(unpack_row_ids(packed), IDS)
