"""A device gets the rows of what it named itself, as a change from what it holds, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core import related_content
from constellation.core.related_content import (
    PopularChoice,
    RelatedContent,
    choose_popular,
)
from constellation.core.rows import TermKind
from constellation.federated.published_related import PopularList
from constellation.transport.codec.global_state import to_global
from tests.core.ingest.planned_table import HOUR, PlannedTable
from tests.deltas import PatternSpec, device_id, make_delta
from tests.related import make_related_global, make_related_rows, make_row_id

if TYPE_CHECKING:
    import pytest

ROWS = {name: {"z": 1} for name in "abcdefgh"}


class RelatedShard(PlannedTable):
    """A table, and the related content that was published to it."""

    def __init__(self) -> None:
        super().__init__()
        self.related = RelatedContent(self.table)

    def publish(self, names: str, **revisions: int) -> None:
        rows = make_related_rows({name: ROWS[name] for name in names}, revisions)
        message = make_related_global(1, rows)
        self.related.adopt(to_global(message.SerializeToString()).related)

    def choose(self, held: bytes = b"", device: int = 0) -> tuple[str, bytes, bytes]:
        """Return which rows a device lacks, and the ids to drop and to hold."""
        choice = self.related.choose(self.table.find_device(device_id(device)), held)
        chosen = choice.related.select(choice.positions)
        names = [chosen.content_ids[content] for content in chosen.contents]
        return "".join(names), choice.removed, choice.held


def to_ids(names: str) -> bytes:
    return b"".join(map(make_row_id, names))


def make_shard() -> RelatedShard:
    """Return a shard with a device that named a, b, c and d in different ways."""
    shard = RelatedShard()
    shard.commit(make_delta(0, 1, snapshot=True, liked=["a", "b"]))
    shard.commit(
        make_delta(0, 2, [PatternSpec(1, contents=("c", "a"))], signals=[("d", HOUR)]),
        make_delta(1, 1, signals=[("e", HOUR)]),
    )
    return shard


def test_a_device_gets_the_rows_of_what_it_liked_watched_and_learned_from() -> None:
    shard = make_shard()
    shard.publish("abcdefgh")

    assert shard.choose() == ("dbac", b"", to_ids("dbac"))
    assert shard.choose(device=1) == ("e", b"", to_ids("e"))


def test_an_unknown_device_gets_only_newer_revisions_of_what_it_holds() -> None:
    shard = make_shard()
    shard.publish("abc", a=2)

    assert shard.choose(device=5) == ("", b"", b"")
    assert shard.choose(to_ids("a"), device=5) == ("a", to_ids("a"), make_row_id("a", 2))


def test_a_device_that_holds_everything_gets_nothing() -> None:
    shard = make_shard()
    shard.publish("abcdefgh")

    names, removed, held = shard.choose(to_ids("abcdf"))

    assert (names, removed) == ("", b"")
    assert held == to_ids("dbacf")


def test_rows_that_changed_are_sent_again_and_those_that_ended_are_removed() -> None:
    shard = make_shard()
    shard.publish("acf", c=7)

    names, removed, held = shard.choose(to_ids("abcf"))

    assert names == "c"
    assert removed == to_ids("bc")
    assert held == make_row_id("a") + make_row_id("c", 7) + make_row_id("f")


def test_without_published_rows_everything_is_removed() -> None:
    assert make_shard().choose(to_ids("ab")) == ("", to_ids("ab"), b"")


def test_content_that_got_its_number_after_the_rows_were_published_is_found() -> None:
    shard = make_shard()
    shard.publish("gh")
    shard.commit(make_delta(0, 3, signals=[("h", HOUR)]))

    assert shard.choose() == ("h", b"", to_ids("h"))


def test_a_device_holds_no_more_rows_than_the_limit_the_latest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(related_content, "MAX_HELD_ROWS", 3)
    shard = make_shard()
    shard.publish("abcdefgh")

    names, removed, held = shard.choose(to_ids("fca"))

    assert names == "db"
    assert removed == to_ids("fc")
    assert held == to_ids("dba")


def test_devices_that_named_content_with_a_row_are_found() -> None:
    shard = make_shard()
    devices, contents = np.array([4, 5, 6]), np.array([1, 2, 99_999])

    assert shard.related.find_devices_with_rows(devices[:2], contents[:2]).tolist() == []
    shard.publish("a")
    number = shard.table.vocabulary.number(TermKind.CONTENT, "a")
    found = shard.related.find_devices_with_rows(devices[:2], np.array([number, number + 1]))

    assert found.tolist() == [4]


NORTH, SOUTH, ALL = (
    PopularList(bytes([number]) * 16, region, ("a",), (5,))
    for number, region in enumerate(("north", "south", ""))
)


def test_a_device_gets_the_popular_content_of_its_region_and_of_all() -> None:
    choice = choose_popular([ALL, NORTH, SOUTH], "north", frozenset())

    assert choice.missing == [ALL, NORTH]
    assert choice.held == {ALL.list_id, NORTH.list_id}


def test_popular_content_that_changed_replaces_what_a_device_holds() -> None:
    old = bytes([9]) * 16

    choice = choose_popular([ALL, SOUTH], "north", frozenset({ALL.list_id, old}))

    assert choice == PopularChoice([], frozenset({old}), frozenset({ALL.list_id}))
