"""The format of an archive: its first line, the kinds of its lines, and its counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from constellation.core.rows import (
    LAST_CONTENT_TYPE,
    LAST_DAY_TYPE,
    LAST_TIME_OF_DAY,
    MAX_SAMPLE_COUNT,
    TermKind,
)
from constellation.errors import InvalidInputError

HEADER_LINE: Final = {"format": "constellation", "version": 1}
KINDS: Final = frozenset({"head", "content", "device", "count", "end"})
MAX_UINT32: Final = 2**32 - 1
PATTERN_INTEGER_FIELDS: Final = (
    ("sample_count", 1, MAX_SAMPLE_COUNT),
    ("created_at", 0, MAX_UINT32),
    ("updated_at", 0, MAX_UINT32),
    ("time_of_day", 0, LAST_TIME_OF_DAY),
    ("day_type", 0, LAST_DAY_TYPE),
    ("content_type", 0, LAST_CONTENT_TYPE),
)
"""Integer columns of a pattern in the order of its row, with their smallest and largest value."""
SUBJECT_FIELDS: Final = {TermKind.GENRE: "genre", TermKind.CONTENT: "content_id"}
"""By kind of term: the field of an hourly count that names the term."""
Line = Mapping[str, Any]
"""The fields of one line."""


@dataclass(frozen=True, slots=True)
class ArchiveCounts:
    """How many items of each kind an archive has."""

    contents: int = 0
    devices: int = 0
    patterns: int = 0
    counts: int = 0

    def add_line(self, kind: str, line: Line) -> ArchiveCounts:
        """Return the counts with one more line of a kind."""
        match kind:
            case "content":
                return replace(self, contents=self.contents + 1)
            case "device":
                patterns = self.patterns + len(line["patterns"])
                return replace(self, devices=self.devices + 1, patterns=patterns)
            case _:
                return replace(self, counts=self.counts + 1)


@dataclass(frozen=True, slots=True)
class NumberedLine:
    """One line of an archive, and its number, which starts from 1."""

    number: int
    fields: Line


def parse_line(text: bytes, number: int) -> tuple[str, NumberedLine]:
    """Return the kind and the fields of one line.

    The first line of an archive has the kind "head". Raises InvalidInputError when the line is not
    a JSON object or its kind is unknown.
    """
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict):
        raise InvalidInputError(f"line {number}", "is not a JSON object")
    ((kind, fields),) = line.items() if len(line) == 1 else [("head", line)]
    if kind not in KINDS or not isinstance(fields, dict):
        raise InvalidInputError(f"line {number}", f"has the unknown kind {kind!r}")
    return kind, NumberedLine(number, fields)
