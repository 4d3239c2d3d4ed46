"""The format of an archive: its first line, the kinds of its lines, and its counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from constellation.core.rows import (
    LAST_CONTENT_TYPE,
    LAST_DAY_TYPE,
    LAST_TIME_OF_DAY,
    MAX_SAMPLE_COUNT,
    TermKind,
)
from constellation.encoding import DIMENSION
from constellation.errors import InvalidInputError

if TYPE_CHECKING:
    from constellation.core.store_identity import StoreIdentity

HEADER_LINE: Final = {"format": "constellation", "version": 1}
"""What the first line of each archive has; `make_head` adds where the archive comes from."""
KINDS: Final = frozenset({"head", "content", "device", "count", "end"})
MAX_UINT16: Final = 2**16 - 1
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
STANDING_FIELDS: Final = (
    ("lot", 2**64 - 1),
    ("network", 2**64 - 1),
    ("first_day", 2**16 - 1),
    ("active_day", 2**16 - 1),
    ("active_days", 2**8 - 1),
    ("attested", 1),
    ("quarantined", 1),
)
"""What says whether a device counts for others, in the order of its row, with the largest value.

Archives of earlier versions lack these: their devices count at once.
"""
WEEK_FIELDS: Final = ("week", "week_patterns", "week_signals", "week_liked")
"""What a device contributed in its latest week, in the order of its row.

Archives of earlier versions lack these as well.
"""
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


def make_head(identity: StoreIdentity) -> Line:
    """Return the first line of an archive of a shard."""
    origin = {"shard_id": identity.shard_id, "region": identity.region}
    known = {name: value for name, value in origin.items() if value is not None}
    return {**HEADER_LINE, "dimension": DIMENSION, **known}


def check_head(fields: Line) -> None:
    """Raise InvalidInputError unless the first line begins an archive that can be read.

    Archives of earlier versions have no dimension, no shard_id and no region.
    """
    if {name: fields.get(name) for name in HEADER_LINE} != HEADER_LINE:
        raise InvalidInputError("line 1", f"must be {json.dumps(HEADER_LINE)}")
    if (dimension := fields.get("dimension", DIMENSION)) != DIMENSION:
        raise InvalidInputError(
            "line 1", f"has the dimension {dimension}, but embeddings must have {DIMENSION} codes"
        )
    for name, kind in (("shard_id", int), ("region", str)):
        if name in fields and not isinstance(fields[name], kind):
            raise InvalidInputError("line 1", f"has the wrong {name} {fields[name]!r}")


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
