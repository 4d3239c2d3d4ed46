from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from constellation.cli.content_lines import CatalogueLine, parse_lines, to_content
from constellation.cli.errors import CommandError
from constellation.encoding import ROW_BYTES, Encoding
from constellation.v1 import patterns_pb2

FILM = {"content_id": "film:1", "content_type": "movie", "title": "Ran"}
EMBEDDING = base64.b64encode(bytes(ROW_BYTES[Encoding.INT8])).decode()


def parse_line(**fields: Any) -> CatalogueLine:
    (line,) = parse_lines("films.jsonl", [json.dumps(fields).encode()], lambda _: None)
    return line


def test_lines_are_numbered_empty_ones_skipped_and_all_bytes_counted() -> None:
    read: list[int] = []
    source = [b"\n", json.dumps(FILM).encode() + b"\n"]

    (line,) = parse_lines("-", source, read.append)

    assert line.location == "standard input line 2"
    assert sum(read) == len(b"".join(source))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"colour": "red"}, "unknown field 'colour'; the fields are content_id, title, "),
        ({"content_id": ""}, "content_id is required"),
        ({"title": 7}, "title must be a string, got 7"),
        ({"content_type": "opera"}, "content_type must be one of movie, episode, live, clip, "),
        ({"genres": "Drama"}, "genres must be a list of strings, got 'Drama'"),
        ({"year": -1}, "year must be an integer from 0 to 4294967295, got -1"),
        ({"encoding": "ENCODING_UNSPECIFIED"}, "encoding must be one of "),
    ],
)
def test_an_invalid_field_is_named_with_its_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandError) as raised:
        parse_line(**{**FILM, **fields})

    assert str(raised.value).startswith(f"films.jsonl line 1: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [(b"{", "is not valid JSON: "), (b"[1]", "must be an object, such as ")],
)
def test_a_line_that_is_no_object_is_named(text: bytes, message: str) -> None:
    with pytest.raises(CommandError, match=f"^films.jsonl line 1: {message}"):
        list(parse_lines("films.jsonl", [text], lambda _: None))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"text": "A king divides his realm."}, "A king divides his realm."),
        ({}, "Ran."),
        ({"year": 1985, "genres": ["Drama", "War"]}, "Ran (1985). Genres: Drama, War."),
    ],
)
def test_the_text_is_embedded_or_else_title_year_and_genres(
    fields: dict[str, Any], text: str
) -> None:
    assert parse_line(**FILM, **fields).text == text


def test_a_line_with_neither_text_nor_title_cannot_be_embedded() -> None:
    line = parse_line(content_id="film:1", content_type="movie")

    with pytest.raises(CommandError, match="line 1: needs a title or a text to embed"):
        _ = line.text


def test_an_embedded_line_becomes_a_content_item() -> None:
    content = to_content(parse_line(**FILM, embedding=EMBEDDING, year=1985))

    assert (content.content_id, content.title, content.year) == ("film:1", "Ran", 1985)
    assert content.content_type == patterns_pb2.CONTENT_TYPE_MOVIE
    assert content.encoding == patterns_pb2.ENCODING_INT8
    assert content.embedding == bytes(ROW_BYTES[Encoding.INT8])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "has no embedding: add it with `constellation content embed`"),
        ({"embedding": "*"}, "embedding must be base64: "),
        ({"embedding": "AAAA"}, "embedding must be 388 bytes, got 3"),
        ({"embedding": EMBEDDING, "encoding": "ENCODING_FLOAT32"}, "embedding must be 1536 bytes"),
    ],
)
def test_a_wrong_embedding_is_named_with_its_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandError) as raised:
        to_content(parse_line(**FILM, **fields))

    assert str(raised.value).startswith(f"films.jsonl line 1: {message}")
