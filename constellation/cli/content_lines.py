"""Content lines: a catalogue as JSON Lines, one content a line."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from constellation.cli.errors import CommandError
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
    """One line of a catalogue, its fields of the right types."""

    location: str
    """The file and the line, for people."""
    fields: Mapping[str, Any]

    def make_error(self, problem: str) -> CommandError:
        """Return what says that this line is wrong."""
        return CommandError(f"{self.location}: {problem}")

    @property
    def text(self) -> str:
        """What is embedded: the text, or what the other fields say."""
        if text := self.fields.get("text", ""):
            return str(text)
        year = f" ({self.fields['year']})" if self.fields.get("year") else ""
        genres = ", ".join(self.fields.get("genres", ()))
        return f"{self.fields['title']}{year}.{f' Genres: {genres}.' if genres else ''}"


def parse_lines(
    name: str, lines: Iterable[bytes], advance: Callable[[int], None]
) -> Iterator[CatalogueLine]:
    """Yield the contents of a catalogue. Raises CommandError, which names a wrong line."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _parse_line(f"{'standard input' if name == '-' else name} line {number}", line)
        advance(len(line))


def to_content(entry: CatalogueLine) -> shard_pb2.Content:
    """Return a content with its embedding."""
    fields = entry.fields
    if "embedding" not in fields:
        raise entry.make_error("has no embedding: `constellation content embed` adds it")
    encoding = _ENCODINGS[fields.get("encoding", "ENCODING_INT8")]
    try:
        embedding = base64.b64decode(fields["embedding"], validate=True)
    except binascii.Error as error:
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
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise CommandError(f"{location}: is not JSON: {error}") from None
    entry = CatalogueLine(location, fields)
    if not isinstance(fields, dict):
        raise entry.make_error('must be an object, like {"content_id": "film:1", ...}')
    if unknown := sorted(set(fields) - set(_FIELD_NAMES)):
        raise entry.make_error(
            f"there is no field {unknown[0]!r}: known are {', '.join(_FIELD_NAMES)}"
        )
    for name in ("content_id", "content_type"):
        if not fields.get(name):
            raise entry.make_error(f"{name} is required")
    for name in set(fields) & {"content_id", "title", "text", "embedding", "content_type"}:
        if not isinstance(fields[name], str):
            raise entry.make_error(f"{name} must be text, got {fields[name]!r}")
    _check_values(entry, fields)
    return entry


def _check_values(entry: CatalogueLine, fields: dict[str, Any]) -> None:
    """Check what is not plain text; make content types words, as tables print them."""
    content_type = fields["content_type"].removeprefix("CONTENT_TYPE_").lower()
    if content_type not in _CONTENT_TYPES:
        raise entry.make_error(
            f"content_type must be one of {', '.join(_CONTENT_TYPES)}, got {content_type!r}"
        )
    fields["content_type"] = content_type
    genres, year = fields.get("genres", []), fields.get("year", 0)
    if not isinstance(genres, list) or not all(isinstance(genre, str) for genre in genres):
        raise entry.make_error(f"genres must be a list of texts, got {genres!r}")
    if not isinstance(year, int) or not 0 <= year < 1 << 32:
        raise entry.make_error(f"year must be a whole number from 0 on, got {year!r}")
    if (encoding := fields.get("encoding", "ENCODING_INT8")) not in _ENCODINGS or encoding.endswith(
        "UNSPECIFIED"
    ):
        raise entry.make_error(f"encoding must be one of {', '.join(_ENCODINGS)}, got {encoding!r}")
