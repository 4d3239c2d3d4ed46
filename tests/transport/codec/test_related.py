from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.errors import InvalidInputError
from constellation.federated.likes import DictionaryKey
from constellation.transport.codec.global_state import to_global
from constellation.transport.codec.related import from_popular, from_related
from tests.related import (
    make_popular,
    make_related_global,
    make_related_rows,
    make_row_id,
    read_related_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation.federated.published import PublishedGlobal
    from constellation.v1 import aggregates_pb2 as pb

ROWS = {"a": {"b": 100, "c": -3}, "b": {"a": 90}, "d": {"c": 127, "a": 5, "b": -128}}


def make_global() -> pb.Global:
    popular = [make_popular("", {"a": 9, "b": 7}), make_popular("north", {"a": 5})]
    return make_related_global(1, make_related_rows(ROWS), popular, ["b", "a", "c"])


def decode(message: pb.Global) -> PublishedGlobal:
    return to_global(message.SerializeToString())


def test_rows_leave_for_devices_as_they_were_published() -> None:
    related = decode(make_global()).related

    everything = from_related(related, np.arange(3))
    two = from_related(related, np.array([2, 1]))

    assert read_related_rows(everything) == ROWS
    assert everything == make_related_rows(ROWS)
    assert read_related_rows(two) == {"d": ROWS["d"], "b": ROWS["b"]}
    assert two.ids == make_row_id("d") + make_row_id("b")
    assert list(two.content_ids) == ["a", "b", "c", "d"]


def test_a_row_leaves_with_only_the_content_ids_that_it_names() -> None:
    related = decode(make_global()).related

    one = from_related(related, np.array([1]))

    assert list(one.content_ids) == ["a", "b"]
    assert len(from_related(related, np.empty(0, np.int64)).ids) == 0


def test_the_dictionary_and_popular_content_are_as_they_were_published() -> None:
    message = make_global()

    published = decode(message)

    assert published.dictionary.key == DictionaryKey(5, 1)
    assert list(published.dictionary.content_ids) == ["b", "a", "c"]
    assert from_popular(published.popular) == list(message.popular)


def test_a_global_state_of_an_earlier_federation_has_neither() -> None:
    published = decode(make_related_global())

    assert published.dictionary.key == DictionaryKey()
    assert len(published.related) == 0
    assert list(published.popular) == []


def _spoil_row_id(message: pb.Global) -> None:
    message.related.rows.ids = make_row_id("x") + message.related.rows.ids[16:]


SPOILS: dict[str, Callable[[pb.Global], object]] = {
    "related.dictionary has a twin": lambda m: m.related.dictionary.append("a"),
    "related.dictionary has control characters": lambda m: m.related.dictionary.append("a\n"),
    "related.dictionary is long": lambda m: m.related.dictionary.extend(map(str, range(8192))),
    "related.dictionary_version is 0": lambda m: m.related.ClearField("dictionary_version"),
    "related.dictionary_version is huge": lambda m: setattr(m.related, "dictionary_version", 2**63),
    "related.rows.content_ids has a twin": lambda m: m.related.rows.content_ids.append("a"),
    "related.rows.content_ids is empty": lambda m: m.related.rows.content_ids.append(""),
    "related.rows.ids is cut short": lambda m: setattr(
        m.related.rows, "ids", m.related.rows.ids[:-1]
    ),
    "related.rows.ids names other content": _spoil_row_id,
    "related.rows.contents has a twin": lambda m: m.related.rows.contents.__setitem__(0, 1),
    "related.rows.contents is beyond": lambda m: m.related.rows.contents.__setitem__(0, 9),
    "related.rows.neighbour_counts is short": lambda m: setattr(
        m.related.rows, "neighbour_counts", b"\2\1"
    ),
    "related.rows.neighbour_counts has a 0": lambda m: setattr(
        m.related.rows, "neighbour_counts", b"\3\0\3"
    ),
    "related.rows.neighbours is long": lambda m: m.related.rows.neighbours.append(0),
    "related.rows.neighbours is beyond": lambda m: m.related.rows.neighbours.__setitem__(0, 4),
    "related.rows.neighbours has a twin": lambda m: m.related.rows.neighbours.__setitem__(0, 2),
    "related.rows.neighbours has itself": lambda m: m.related.rows.neighbours.__setitem__(0, 0),
    "related.rows.weights is short": lambda m: setattr(m.related.rows, "weights", b"\1"),
    "related.rows.weights has a 0": lambda m: setattr(m.related.rows, "weights", bytes(6)),
    "related.rows.shifts is short": lambda m: setattr(m.related.rows, "shifts", b"\1"),
    "related.rows.shifts is large": lambda m: setattr(m.related.rows, "shifts", b"\1\2\x1f"),
    "popular.id is short": lambda m: setattr(m.popular[0], "id", b"short"),
    "popular.id has a twin": lambda m: setattr(m.popular[0], "id", m.popular[1].id),
    "popular.region has a twin": lambda m: setattr(m.popular[0], "region", "north"),
    "popular.region has control characters": lambda m: setattr(m.popular[1], "region", "a\x1b"),
    "popular.content_ids has a twin": lambda m: m.popular[0].content_ids.append("a"),
    "popular.content_ids is long": lambda m: m.popular[0].content_ids.extend(map(str, range(199))),
    "popular.households is short": lambda m: m.popular[0].households.pop(),
    "popular.households grows": lambda m: m.popular[0].households.__setitem__(1, 10),
    "popular is long": lambda m: m.popular.extend(
        make_popular(str(each), {}) for each in range(256)
    ),
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_bad_column_is_refused_by_name(spoil: str) -> None:
    message = make_global()
    SPOILS[spoil](message)

    with pytest.raises(InvalidInputError) as raised:
        decode(message)

    assert raised.value.field == spoil.split(maxsplit=1)[0]


def test_too_many_rows_or_neighbours_are_refused() -> None:
    many = {"a": {f"n{each}": 1 for each in range(65)}}
    with pytest.raises(InvalidInputError, match="neighbour_counts must be from 1 to 64 each"):
        decode(make_related_global(1, make_related_rows(many)))
    rows = make_related_rows(ROWS)
    rows.contents.extend(range(8190))
    with pytest.raises(InvalidInputError, match="contents must have at most 8192 entries"):
        decode(make_related_global(1, rows))
