from __future__ import annotations

import json

import pytest

from constellation.archive.lines import HEADER_LINE, ArchiveCounts, parse_line
from constellation.errors import InvalidInputError


def test_a_line_is_its_kind_and_its_fields() -> None:
    kind, line = parse_line(b'{"content": {"content_id": "a"}}', 7)

    assert (kind, line.number, line.fields) == ("content", 7, {"content_id": "a"})


def test_the_header_is_a_line_without_a_kind() -> None:
    kind, line = parse_line(json.dumps(HEADER_LINE).encode(), 1)

    assert (kind, line.fields) == ("head", HEADER_LINE)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b"null", b'"head"', b"\xff", b"[[1]]"])
def test_text_that_is_not_a_json_object_is_refused_with_its_line(text: bytes) -> None:
    with pytest.raises(InvalidInputError, match="line 3 is not a JSON object"):
        parse_line(text, 3)


@pytest.mark.parametrize("text", [b'{"surprise": {}}', b'{"device": []}', b'{"count": 7}'])
def test_a_line_of_an_unknown_kind_or_without_fields_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInputError, match="line 3 has the unknown kind"):
        parse_line(text, 3)


def test_counts_grow_by_each_line_and_by_the_patterns_of_each_device() -> None:
    counts = ArchiveCounts()
    for kind, line in (
        ("content", {}),
        ("device", {"patterns": [{}, {}]}),
        ("device", {"patterns": []}),
        ("count", {}),
    ):
        counts = counts.add_line(kind, line)

    assert counts == ArchiveCounts(contents=1, devices=2, patterns=2, counts=1)
