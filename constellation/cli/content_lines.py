"""Read a catalogue in JSON Lines: one content item per line."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from constellation.cli.errors import CommandError
from constellation.cli.files import name_line
from constellation.encoding import ROW_BYTES, Encoding
from constellation.v1 import patterns_pb2, shard_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_CONTENT_TYPES: Final = {
    name.removeprefix("CONTENT_TYPE_").lower(): number
    for name, number in patterns_pb2.ContentType.items()
    if number
}
_ENCODINGS: Final = dict(patterns_pb2.Encoding.items())
MAX_LINE_BYTES: Final = 1 << 20
"""The longest line of a catalogue; a shard takes no longer request."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SHOWN_CHARACTERS: Final = 80
"""Characters of a wrong value that an error message shows."""
_FIELD_NAMES: Final = (
    "content_id",
    "title",
    "text",
    "content_type",
    "genres",
    "year",
    "encoding",
    "embedding",
)


@dataclass(frozen=True, slots=True)
class CatalogueLine:
    """One line of a catalogue, whose fields have been checked."""

    location: str
    """The file and the line number, for error messages."""
    fields: Mapping[str, Any]
    """The JSON object. Its `content_type` is a word such as "movie"."""

    def make_error(self, problem: str) -> CommandError:
        """Return an error that names this line."""
        return CommandError(f"{self.location}: {problem}")

    @property
    def text(self) -> str:
        """The text to embed: the field `text`, or else title, year and genres.

        Raises CommandError when the line has neither a text nor a title.
        """
        if text := self.fields.get("text", ""):
            return str(text)
        if not self.fields.get("title"):
            raise self.make_error("needs a title or a text to embed")
        year = f" ({self.fields['year']})" if self.fields.get("year") else ""
        genres = ", ".join(self.fields.get("genres", ()))
        return f"{self.fields['title']}{year}.{f' Genres: {genres}.' if genres else ''}"


def parse_lines(
    name: str, lines: Iterable[bytes], advance: Callable[[int], None]
) -> Iterator[CatalogueLine]:
    """Yield the lines of a catalogue, skipping empty ones; `advance` gets the bytes read.

    `name` is the file's name, or "-" for standard input. Raises CommandError, which names the
    first invalid line.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _parse_line(name_line(name, number), line)
        advance(len(line))


def to_content(entry: CatalogueLine) -> shard_pb2.Content:
    """Return a content item with its embedding, for the API.

    Raises CommandError when the line has no embedding, or one that cannot be decoded.
    """
    fields = entry.fields
    if "embedding" not in fields:
        raise entry.make_error("has no embedding: add it with `constellation content embed`")
    encoding = _ENCODINGS[fields.get("encoding", "ENCODING_INT8")]
    try:
        embedding = base64.b64decode(fields["embedding"], validate=True)
    except ValueError as error:
        raise entry.make_error(f"embedding must be base64: {error}") from None
    if len(embedding) != (expected := ROW_BYTES[Encoding(encoding)]):
        raise entry.make_error(f"embedding must be {expected} bytes, got {len(embedding)}")
    return shard_pb2.Content(
        content_id=fields["content_id"],
        title=fields.get("title", ""),
        content_type=_CONTENT_TYPES[fields["content_type"]],
        genres=fields.get("genres", ()),
        year=fields.get("year", 0),
        encoding=encoding,
        embedding=embedding,
    )


def _parse_line(location: str, line: bytes) -> CatalogueLine:
    fields = _parse_json(location, line)
    entry = CatalogueLine(location, fields)
    if not isinstance(fields, dict):
        raise entry.make_error('must be an object, such as {"content_id": "film:1", ...}')
    if unknown := sorted(set(fields) - set(_FIELD_NAMES)):
        raise entry.make_error(
            f"unknown field {_show(unknown[0])}; the fields are {', '.join(_FIELD_NAMES)}"
        )
    for name in ("content_id", "content_type"):
        if not fields.get(name):
            raise entry.make_error(f"{name} is required")
    for name in set(fields) & {"content_id", "title", "text", "embedding", "content_type"}:
        if not isinstance(fields[name], str):
            raise entry.make_error(f"{name} must be a string, got {_show(fields[name])}")
    _check_values(entry, fields)
    _check_texts(entry, fields)
    return entry


def _parse_json(location: str, line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise CommandError(f"{location}: is not valid JSON: {error}") from None
    except RecursionError:
        raise CommandError(f"{location}: is nested too deeply: a value is text or a list") from None


def _check_texts(entry: CatalogueLine, fields: Mapping[str, Any]) -> None:
    """Raise CommandError for a text that no shard can store."""
    texts = [(name, text) for name, text in fields.items() if isinstance(text, str)]
    for name, text in [*texts, *(("genres", genre) for genre in fields.get("genres", ()))]:
        if "\0" in text:
            raise entry.make_error(f"{name} must not contain NUL, got {_show(text)}")
        if _SURROGATE.search(text):
            raise entry.make_error(
                f"{name} must be Unicode text without half of a character, got {_show(text)}"
            )


def _show(value: object) -> str:
    """Return the beginning of a value, for an error message."""
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"


def _check_values(entry: CatalogueLine, fields: dict[str, Any]) -> None:
    """Check content type, genres, year and encoding; make the content type a word."""
    content_type = fields["content_type"].removeprefix("CONTENT_TYPE_").lower()
    if content_type not in _CONTENT_TYPES:
        raise entry.make_error(
            f"content_type must be one of {', '.join(_CONTENT_TYPES)}, got {_show(content_type)}"
        )
    fields["content_type"] = content_type
    genres, year = fields.get("genres", []), fields.get("year", 0)
    if not isinstance(genres, list) or not all(isinstance(genre, str) for genre in genres):
        raise entry.make_error(f"genres must be a list of strings, got {_show(genres)}")
    if not isinstance(year, int) or not 0 <= year < 1 << 32:
        raise entry.make_error(
            f"year must be an integer from 0 to {(1 << 32) - 1}, got {_show(year)}"
        )
    encoding = fields.get("encoding", "ENCODING_INT8")
    if not isinstance(encoding, str) or not _ENCODINGS.get(encoding):
        known = ", ".join(name for name, number in _ENCODINGS.items() if number)
        raise entry.make_error(f"encoding must be one of {known}, got {_show(encoding)}")
