from __future__ import annotations

from constellation.federated.likes import MAX_DICTIONARY, MAX_NEIGHBOURS
from federation.related.dictionary import NO_DICTIONARY, Dictionary
from federation.related.popular import LIST_LENGTH, MAX_REGIONS, PopularList
from federation.related.rows import RelatedRow
from federation.related_messages import (
    from_popular,
    from_related,
    to_dictionary,
    to_popular,
    to_rows,
)

HALF_A_GLOBAL = 8 * 2**20
"""What remains of 16 MiB beside the largest codebook with its clusters."""


def test_rows_of_different_lengths_come_back() -> None:
    rows = [
        RelatedRow("b", ("a", "c", "d"), (127, 1, -127), 30),
        RelatedRow("a", ("b",), (-1,), 0),
    ]

    message = from_related(Dictionary(7, ("a", "b")), rows)

    assert to_rows(message.rows) == rows
    assert to_dictionary(message) == Dictionary(7, ["a", "b"])
    assert sorted(message.rows.content_ids) == ["a", "b", "c", "d"]


def test_nothing_comes_back_as_nothing() -> None:
    message = from_related(NO_DICTIONARY, [])

    assert to_rows(message.rows) == []
    assert to_dictionary(message).version == 0
    assert to_popular(from_popular([])) == []


def test_the_largest_related_and_popular_content_fits_into_half_a_global() -> None:
    names = [f"{number:064}" for number in range(MAX_DICTIONARY)]
    rows = [
        RelatedRow(
            name,
            tuple(names[(number + step) % len(names)] for step in range(1, MAX_NEIGHBOURS + 1)),
            tuple(range(1, MAX_NEIGHBOURS + 1)),
            30,
        )
        for number, name in enumerate(names)
    ]
    households = tuple(range(2**31, 2**31 + LIST_LENGTH))
    lists = [
        PopularList(f"{region:064}", tuple(names[:LIST_LENGTH]), households)
        for region in range(MAX_REGIONS + 1)
    ]

    related = from_related(Dictionary(1, names), rows)
    size = related.ByteSize() + sum(each.ByteSize() for each in from_popular(lists))

    assert HALF_A_GLOBAL / 2 < size < HALF_A_GLOBAL
