"""The form of an archive: its first line, the kinds of the others, what it sums up to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from constellation.errors import InvalidInputError

HEADER_LINE: Final = {"format": "constellation", "version": 1}
KINDS: Final = frozenset({"head", "content", "device", "count", "end"})
Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ArchiveCounts:
    """What an archive holds."""

    contents: int = 0
    devices: int = 0
    patterns: int = 0
    counts: int = 0

    def add_line(self, kind: str, line: Line) -> ArchiveCounts:
        """Return the tally after one more line of a kind."""
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
    """One line of an archive, and its number there."""

    number: int
    fields: Line


def parse_line(text: bytes, number: int) -> tuple[str, NumberedLine]:
    """Return the kind of one line, and what it holds. Raises InvalidInputError when it is none."""
    try:
        line = json.loads(text)
        ((kind, fields),) = line.items() if len(line) == 1 else [("head", line)]
    except (ValueError, AttributeError, TypeError):
        raise InvalidInputError(f"line {number}", "is not a JSON object") from None
    if kind not in KINDS or not isinstance(fields, dict):
        raise InvalidInputError(f"line {number}", f"is of an unknown kind, {kind!r}")
    return kind, NumberedLine(number, fields)
