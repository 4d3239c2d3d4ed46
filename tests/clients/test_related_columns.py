from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.rpc import code_pb2

from constellation.v1 import patterns_pb2 as pb
from constellation_settop import Outbox
from constellation_settop.related_columns import (
    MAX_RELATED,
    from_popular,
    from_related_rows,
    to_popular,
    to_related_rows,
)
from constellation_settop.values import PopularContents, RelatedRow
from tests.clients.samples import (
    make_popular_update,
    make_related,
    make_related_update,
    make_row_id,
    receive_update,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = make_related("a", {"b": 127, "c": -128}, shift=7) | make_related("b", {"a": 1}, shift=30)


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:") as outbox:
        yield outbox


def test_rows_survive_the_wire() -> None:
    assert to_related_rows(from_related_rows(ROWS)) == ROWS
    assert to_related_rows(from_related_rows({})) == {}


def test_popular_content_survives_the_wire() -> None:
    popular = PopularContents("north", ("a", "b"), (9, 8))

    assert to_popular([from_popular(bytes(16), popular)]) == {bytes(16): popular}


BROKEN_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "an id that is cut off": ({"ids": bytes(17)}, "must be 16 bytes each"),
    "an id of other content": ({"ids": bytes(32)}, "begin with its content's hash"),
    "fewer contents than ids": ({"contents": [0]}, "different lengths"),
    "fewer shifts than ids": ({"shifts": b"1"}, "different lengths"),
    "a shift of 31": ({"shifts": bytes([31, 0])}, "from 0 to 30, got 31"),
    "no neighbours": ({"neighbour_counts": bytes([3, 0])}, "1 to 64 neighbours"),
    "counts beyond the neighbours": ({"neighbour_counts": bytes([2, 64])}, "must have 66"),
    "fewer weights than neighbours": ({"weights": b"12"}, "must have 3 neighbours and weights"),
    "a weight of zero": ({"weights": bytes(3)}, "must not be 0"),
    "a neighbour out of range": ({"neighbours": [1, 2, 2**32 - 1]}, "below 3, got 4294967295"),
    "a content out of range": ({"contents": [0, 3]}, "below 3, got 3"),
    "a neighbour twice": ({"neighbours": [1, 1, 0]}, "each once"),
    "itself as a neighbour": ({"neighbours": [0, 1, 0]}, "each once"),
    "an endless content id": ({"content_ids": ["a", "b", "c" * 65]}, "1 to 64 bytes, got 65"),
    "an empty content id": ({"content_ids": ["a", "b", ""]}, "1 to 64 bytes, got 0"),
    "two rows of one content": (
        {
            "ids": make_row_id("a") + make_row_id("a", 2),
            "contents": [0, 0],
            "neighbours": [1, 2, 1],
        },
        "at most one row",
    ),
}


@pytest.mark.parametrize("case", BROKEN_ROWS)
def test_malformed_rows_are_refused_and_change_nothing(outbox: Outbox, case: str) -> None:
    fields, message = BROKEN_ROWS[case]
    receive_update(outbox, make_related_update(make_related("z", {"y": 5}), 1))
    update = make_related_update(ROWS, 3, nonce=2)
    for name, value in fields.items():
        update.related.ClearField(name)  # type: ignore[arg-type]  # any field
        update.related.MergeFrom(pb.RelatedRows(**{name: value}))

    ack = receive_update(outbox, update)

    assert ack.error.code == code_pb2.INVALID_ARGUMENT
    assert message in ack.error.message
    assert list(outbox.global_state.related) == list(make_related("z", {"y": 5}))


BROKEN_LISTS: dict[str, tuple[dict[str, Any], str]] = {
    "an id that is cut off": ({"id": bytes(15)}, "must be 16 bytes, got 15"),
    "a content twice": ({"content_ids": ["a", "a"]}, "distinct content"),
    "fewer counts than content": ({"households": [1]}, "distinct content"),
    "an endless region": ({"region": "x" * 257}, "at most 256 bytes"),
    "an endless list": (
        {"content_ids": [str(each) for each in range(201)], "households": [1] * 201},
        "at most 200",
    ),
    "an endless content id": ({"content_ids": ["a", "b" * 65]}, "1 to 64 bytes"),
}


@pytest.mark.parametrize("case", BROKEN_LISTS)
def test_malformed_lists_are_refused(outbox: Outbox, case: str) -> None:
    fields, message = BROKEN_LISTS[case]
    update = make_popular_update("north", ["a", "b"])
    for name, value in fields.items():
        update.popular[0].ClearField(name)  # type: ignore[arg-type]  # any field
        update.popular[0].MergeFrom(pb.PopularContents(**{name: value}))

    ack = receive_update(outbox, update)

    assert message in ack.error.message
    assert not outbox.global_state.popular


def test_what_a_device_holds_survives_a_restart(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "a") as outbox:
        receive_update(outbox, make_related_update(ROWS, 2))
        update = make_popular_update("north", ["a", "b"])
        update.related_count = 2
        receive_update(outbox, update)
        before = outbox.global_state
    with Outbox.open(tmp_path / "a") as outbox:
        assert outbox.global_state.related == before.related == ROWS
        assert outbox.global_state.popular == before.popular
        assert [each.region for each in before.popular.values()] == ["north"]


def test_rows_are_removed_and_replaced(outbox: Outbox) -> None:
    receive_update(outbox, make_related_update(ROWS, 2))
    newer = make_related("a", {"c": 3}, revision=2)

    ack = receive_update(outbox, make_related_update(newer, 1, make_row_id("b"), nonce=2))

    assert not ack.HasField("error")
    assert outbox.global_state.related == newer


def test_another_count_than_the_shards_is_refused(outbox: Outbox) -> None:
    ack = receive_update(outbox, make_related_update(ROWS, 3))

    assert "2 rows of related content are left after the update, but the shard counts 3" in (
        ack.error.message
    )
    assert not outbox.global_state.related


def test_a_shard_cannot_fill_the_device_with_rows(outbox: Outbox) -> None:
    rows: dict[bytes, RelatedRow] = {}
    for number in range(MAX_RELATED):
        rows |= make_related(f"content-{number}", {"a": 1})
    receive_update(outbox, make_related_update(rows, MAX_RELATED))

    one_more = make_related("one-more", {"a": 1})
    ack = receive_update(outbox, make_related_update(one_more, MAX_RELATED + 1, nonce=2))

    assert "at most 512 rows" in ack.error.message
    assert len(outbox.global_state.related) == MAX_RELATED


def test_a_list_replaces_the_one_of_its_region_and_a_third_is_refused(outbox: Outbox) -> None:
    for number, region in enumerate(("", "north", "north")):
        update = make_popular_update(region, [str(number)])
        update.popular[0].id = bytes([number] * 16)
        receive_update(outbox, update)

    lists = outbox.global_state.popular
    assert [each.content_ids for each in lists.values()] == [("0",), ("2",)]
    ack = receive_update(outbox, make_popular_update("south", ["9"]))
    assert "at most 2 lists" in ack.error.message

    receive_update(outbox, pb.GlobalUpdate(nonce=9, removed_popular_ids=bytes(16)))
    assert list(outbox.global_state.popular) == [bytes([2] * 16)]
