"""Format values for people, and print JSON for programs."""

from __future__ import annotations

import json
import re
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp
    from rich.text import Text

_UNLIMITED_WIDTH: Final = 1_000_000
"""The line width of output that is not on a terminal: programs that read it want whole values."""
_BARS: Final = " ▁▂▃▄▅▆▇█"
_MORE_CONTROLS: Final = "\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff"
"""C1, what breaks or reorders a line, and what is no text; JSON has no escapes of its own here."""
_CONTROLS: Final = re.compile(f"[\x00-\x1f{_MORE_CONTROLS}]")
_JSON_CONTROLS: Final = re.compile(f"[{_MORE_CONTROLS}]")
_LAST_BYTE: Final = 0xFF
_SHORT_ESCAPES: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_TIME_UNITS: Final = ((86_400, "day"), (3600, "hour"), (60, "min"), (1, "s"))


def show_controls(text: str) -> str:
    r"""Return a text in which control characters are visible, such as `\x1b` in place of ESC.

    Ids, titles, genres, regions and the messages of other processes come from elsewhere: they must
    not move the cursor, name the window or reorder a line. Everything that people read goes
    through here: tables, consoles, lines, messages and pictures.
    """
    return _CONTROLS.sub(_escape_control, text)


def _escape_control(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    shown = f"\\x{code:02x}" if code <= _LAST_BYTE else f"\\u{code:04x}"
    return _SHORT_ESCAPES.get(character, shown)


class _VisibleConsole(Console):
    """A console that shows the control characters of the texts that it prints."""

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(show_controls(text), **how)


def make_console() -> Console:
    """Return a console for standard output.

    It prints colours only on a terminal where NO_COLOR is not set, and limits the length of lines
    only on a terminal.
    """
    return _VisibleConsole(width=None if sys.stdout.isatty() else _UNLIMITED_WIDTH, highlight=False)


def print_line(text: str) -> None:
    """Print one line of plain text."""
    print(show_controls(text))


def print_text(text: str) -> None:
    """Print a text of this program, which may have many lines."""
    print(text)


def print_json(document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print one JSON document."""
    print(_to_json_text(document, indent=2))


def print_json_line(document: Mapping[str, Any]) -> None:
    """Print a JSON document as one line, and flush it, because a program may be following."""
    print(_to_json_text(document, separators=(",", ":")), flush=True)


def _to_json_text(document: object, **layout: Any) -> str:
    """Return a document as JSON, in which control characters are escaped as JSON escapes them."""
    text = json.dumps(document, ensure_ascii=False, **layout)
    return _JSON_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def to_json(message: Message) -> dict[str, Any]:
    """Return a message as REST prints it: field names of the .proto, 64-bit integers as strings."""
    document: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return document


def format_count(number: float) -> str:
    return f"{number:,.0f}"


def pluralise(number: int, noun: str) -> str:
    """Return a count with its noun, such as "1 device" and "2 devices"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_rate(per_second: float) -> str:
    """Return a rate: an integer from 100 on, three significant digits below."""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"  # noqa: PLR2004


def format_size(size_bytes: int) -> str:
    """Return a size with three significant digits, in the largest fitting SI unit."""
    number, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 1000:  # noqa: PLR2004 - SI
            break
        number, unit = number / 1000, larger
    return f"{number:.3g} {unit}"


def format_milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"


def to_seconds(time_value: Duration | Timestamp) -> float:
    """Return a protobuf duration in seconds, or a timestamp in seconds since 1970, UTC."""
    return time_value.ToNanoseconds() / 1e9


def format_duration(seconds: float) -> str:
    """Return a duration in its largest unit, rounded down."""
    for length, name in _TIME_UNITS:
        if seconds >= length:
            number = int(seconds // length)
            plural = "s" if number != 1 and name in {"day", "hour"} else ""
            return f"{number} {name}{plural}"
    return "0 s"


def format_age(at_seconds: float, now: float | None = None) -> str:
    """Return how long ago something happened; "never" for 0.

    `at_seconds` and `now` are seconds since 1970; `now` defaults to this machine's clock.
    """
    if not at_seconds:
        return "never"
    return f"{format_duration(max((time.time() if now is None else now) - at_seconds, 0))} ago"


def draw_sparkline(values: Sequence[int]) -> str:
    """Return one bar per value; the largest value has the height of the line."""
    highest = max(values, default=0)
    if not highest:
        return _BARS[0] * len(values)
    steps = len(_BARS) - 1
    return "".join(_BARS[-(-value * steps // highest)] for value in values)


def print_message(text: str) -> None:
    """Print one line for people on stderr, apart from the output on stdout.

    When stderr takes nothing more, the line is lost: the exit status still says that it failed.
    """
    with suppress(OSError):
        print(show_controls(text), file=sys.stderr, flush=True)
