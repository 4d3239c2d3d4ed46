"""Printing: answers for people as tables, for programs as JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message

_UNLIMITED_WIDTH: Final = 1_000_000
"""Of what is not printed on a terminal: programs that read it want whole values."""
_BARS: Final = " ▁▂▃▄▅▆▇█"
_TIME_UNITS: Final = ((86_400, "day"), (3600, "hour"), (60, "min"), (1, "s"))


def make_console() -> Console:
    """Return what prints on standard output.

    Colours only on a terminal, without NO_COLOR. Only a terminal's width limits lines.
    """
    return Console(width=None if sys.stdout.isatty() else _UNLIMITED_WIDTH, highlight=False)


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print one JSON document."""
    print(json.dumps(document, ensure_ascii=False, indent=2))


def print_json_line(document: Mapping[str, Any]) -> None:
    """Print a document as one line, at once: somebody may follow."""
    print(json.dumps(document, ensure_ascii=False, separators=(",", ":")), flush=True)


def to_json(message: Message) -> dict[str, Any]:
    """Return a message as REST does: the names of the .proto, 64-bit numbers as strings."""
    document: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return document


def format_count(number: float) -> str:
    return f"{number:,.0f}"


def pluralise(number: int, noun: str) -> str:
    """Return a count with its noun: 1 device, 2 devices."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_rate(per_second: float) -> str:
    """Return a rate: whole when it is large, with two decimals when it is small."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"  # noqa: PLR2004


def format_size(size_bytes: int) -> str:
    """Return bytes in the unit that leaves three digits."""
    number, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 1000:  # noqa: PLR2004 - SI
            break
        number, unit = number / 1000, larger
    return f"{number:.3g} {unit}"


def format_milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"


def format_duration(seconds: float) -> str:
    """Return a length of time in its largest unit."""
    for length, name in _TIME_UNITS:
        if seconds >= length:
            number = int(seconds // length)
            plural = "s" if number != 1 and name in {"day", "hour"} else ""
            return f"{number} {name}{plural}"
    return "0 s"


def format_age(at_seconds: float, now: float | None = None) -> str:
    """Return how long ago something was, by this machine's clock."""
    if not at_seconds:
        return "never"
    return f"{format_duration(max((time.time() if now is None else now) - at_seconds, 0))} ago"


def draw_sparkline(values: Sequence[int]) -> str:
    """Return a bar for each value, the largest as high as a line."""
    highest = max(values, default=0)
    if not highest:
        return _BARS[0] * len(values)
    steps = len(_BARS) - 1
    return "".join(_BARS[-(-value * steps // highest)] for value in values)


def print_message(text: str) -> None:
    """Tell people something beside the answer."""
    print(text, file=sys.stderr)
