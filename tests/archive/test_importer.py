from __future__ import annotations

import re
from typing import Any

import pytest

from constellation.archive.importer import ArchiveImporter, ContentBatch
from constellation.core.loading import load_shard
from constellation.core.rules import Rules
from constellation.core.store import CommitWrites
from constellation.errors import InvalidInputError
from tests.archive.samples import (
    fill_store,
    make_archive,
    make_content,
    make_device,
    make_pattern,
    to_numbered,
)

RULES = Rules(max_devices=10_000, max_patterns=10_000)


async def test_a_store_that_got_everything_agrees_with_its_totals() -> None:
    checker = ArchiveImporter()
    await fill_store(make_archive(), checker)

    store = await fill_store(make_archive(), ArchiveImporter(checker.totals))

    assert (await load_shard(store, RULES)).problems == []
    assert await store.read_totals() == checker.totals
    assert (checker.totals.devices, checker.totals.patterns) == (3, 3)


async def test_a_store_that_got_a_part_disagrees_with_its_totals() -> None:
    checker = ArchiveImporter()
    await fill_store(make_archive(), checker)
    part = make_archive()
    del part["device"][-1]

    store = await fill_store(part, ArchiveImporter(checker.totals))

    assert "patterns: the last commit says 3, the rows say 2" in (
        (await load_shard(store, RULES)).problems
    )


def test_each_term_is_numbered_once_and_brought_by_the_write_that_uses_it_first() -> None:
    importer = ArchiveImporter()
    contents = importer.prepare("content", to_numbered([make_content("film:1")]))
    devices = importer.prepare("device", to_numbered([make_device(1, [make_pattern(1)])]))

    assert isinstance(contents, ContentBatch)
    assert isinstance(devices, CommitWrites)
    assert [(each.number, each.text) for each in contents.terms] == [
        (1, "film:1"),
        (1, "drama"),
        (2, "科幻"),
    ]
    assert [(each.number, each.text) for each in devices.terms] == [(3, "noir"), (2, "film:2")]
    assert devices.rows["genres"][0, :3].tolist() == [1, 3, 0]
    assert devices.rows["contents"][0, :3].tolist() == [2, 1, 0]


def test_rows_continue_the_slots_of_the_commit_before() -> None:
    importer = ArchiveImporter()
    importer.begin()
    importer.prepare("device", to_numbered([make_device(1, [make_pattern(1), make_pattern(2)])]))

    second = importer.prepare("device", to_numbered([make_device(2, [make_pattern(1)])]))

    assert isinstance(second, CommitWrites)
    assert (second.slots.tolist(), second.device_slots.tolist()) == ([2], [1])
    assert second.rows["device"].tolist() == [1]
    assert second.rows["lsn"].tolist() == [second.totals.lsn] == [3]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"success_rate": 1.5}, "a success_rate must be from 0 to 1, got 1.5"),
        ({"success_rate": "1"}, "a success_rate must be from 0 to 1, got '1'"),
        ({"embedding": "AAAA"}, "an embedding must have 384 codes, got 3"),
        ({"embedding": "A" * 512}, "an embedding must not be all zeros"),
        ({"embedding": "*"}, "an embedding must be base64"),
        ({"pattern_id": "00"}, "an id must be 32 lower-case hex digits, got '00'"),
        ({"pattern_id": "AB" * 16}, "an id must be 32 lower-case hex digits"),
        ({"sample_count": -1}, "a number must be from 1 to 1000000000, got -1"),
        ({"time_of_day": 5}, "a number must be from 0 to 4, got 5"),
        ({"genres": "noir"}, "a value must be a list, got 'noir'"),
        ({"genres": [7]}, "a value must be text, got 7"),
        ({"genres": ["a\0"]}, "must not hold NUL"),
        ({"genres": list("abcdefghi")}, "a list must have at most 8 terms, got 9"),
    ],
)
def test_a_wrong_pattern_is_refused_with_its_line_and_its_value(
    changes: dict[str, Any], problem: str
) -> None:
    lines = to_numbered([make_device(1, [make_pattern(1, **changes)])])

    with pytest.raises(InvalidInputError, match=re.escape(f"line 2 is wrong: {problem}")):
        ArchiveImporter().prepare("device", lines)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"content_type": 0}, "a number must be from 1 to 4, got 0"),
        ({"title": "a\0"}, "a title must not contain NUL"),
        ({"genres": list("abcdefghi")}, "there must be at most 8 genres, got 9"),
        ({"content_id": ""}, "must be from 1 to 64 bytes each, got 0"),
        ({"year": 2**32}, "a number must be from 0 to 4294967295"),
    ],
)
def test_a_wrong_content_item_is_refused_with_its_line_and_its_value(
    changes: dict[str, Any], problem: str
) -> None:
    lines = to_numbered([make_content("film:1") | changes])

    with pytest.raises(InvalidInputError, match=re.escape(f"line 2 is wrong: {problem}")):
        ArchiveImporter().prepare("content", lines)


@pytest.mark.parametrize(
    ("liked", "problem"),
    [
        ("film:1", "a value must be a list, got 'film:1'"),
        (["a", "b", "a"], "the liked content of a device must be distinct"),
        ([str(number) for number in range(129)], "a list must have at most 128 terms, got 129"),
    ],
)
def test_wrong_liked_content_is_refused(liked: object, problem: str) -> None:
    lines = to_numbered([make_device(1, liked_content_ids=liked)])

    with pytest.raises(InvalidInputError, match=re.escape(f"line 2 is wrong: {problem}")):
        ArchiveImporter().prepare("device", lines)


def test_an_archive_of_an_earlier_version_has_no_liked_content() -> None:
    line = make_device(1)
    del line["liked_content_ids"]

    writes = ArchiveImporter().prepare("device", to_numbered([line]))

    assert isinstance(writes, CommitWrites)
    assert len(writes.device_slots) == 1
    assert len(writes.liked_devices) == 0


def test_a_missing_field_is_named() -> None:
    line = make_device(1)
    del line["patterns"]

    with pytest.raises(InvalidInputError, match="line 2 lacks the field 'patterns'"):
        ArchiveImporter().prepare("device", to_numbered([line]))


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("content", make_content("b"), make_content("a")),
        ("device", make_device(1), make_device(1)),
        (
            "count",
            {"hour": 1, "content_id": "a", "devices": 1},
            {"hour": 1, "genre": "b", "devices": 1},
        ),
    ],
)
def test_lines_that_are_repeated_or_out_of_order_are_refused(
    kind: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    importer = ArchiveImporter()
    importer.prepare(kind, to_numbered([first]))

    with pytest.raises(InvalidInputError, match=f"line 2 has {kind} .* twice or out of order"):
        importer.prepare(kind, to_numbered([second]))


def test_patterns_of_a_device_that_are_out_of_order_are_refused() -> None:
    lines = to_numbered([make_device(1, [make_pattern(2), make_pattern(1)])])

    with pytest.raises(InvalidInputError, match="must be in the order of their ids"):
        ArchiveImporter().prepare("device", lines)


def test_a_header_in_the_middle_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="line 2 must not have the kind 'head'"):
        ArchiveImporter().prepare("head", to_numbered([{}]))
