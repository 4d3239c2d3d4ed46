"""Archives: a shard as JSON Lines, the same text whatever store it came from.

One line for each content, then for each device with its patterns, then for each hourly count, each
kind in ascending order; a first line names the format, a last one says how many there were. Slots,
commits, the epoch and the key of the pseudonyms belong to a store and are not in it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from constellation.core.errors import InvalidInputError
from constellation.core.patterns import (
    CONTENTS,
    DEVICE,
    GENRES,
    LAST_CONTENT_TYPE,
    LAST_DAY_TYPE,
    LAST_TIME_OF_DAY,
    MAX_SAMPLE_COUNT,
    PATTERN,
    SIGNALS_PER_HOUR,
    PatternRows,
    WordKind,
    digest,
)
from constellation.core.store import Changes, Content, HourlyCounts, Totals, Word
from constellation.core.words import NewWords, Words
from constellation.encoding import DIMENSION, ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from constellation.core.loading import Loaded

HEAD: Final = {"format": "constellation", "version": 1}
KINDS: Final = frozenset({"head", "content", "device", "count", "end"})
_DEVICES_AT_ONCE: Final = 512
_MODULUS: Final = 2**64
_PATTERN_NUMBERS: Final = (
    "sample_count",
    "created_at",
    "updated_at",
    "time_of_day",
    "day_type",
    "content_type",
)

_COUNT: Final = np.dtype([("hour", "<u4"), ("content", "<u4"), ("devices", "<u4")])

Line = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tally:
    """What an archive holds."""

    contents: int = 0
    devices: int = 0
    patterns: int = 0
    counts: int = 0

    def plus(self, kind: str, line: Line) -> Tally:
        """Return the tally after one more line of a kind."""
        match kind:
            case "content":
                return replace(self, contents=self.contents + 1)
            case "device":
                patterns = self.patterns + len(line.get("patterns", ()))
                return replace(self, devices=self.devices + 1, patterns=patterns)
            case _:
                return replace(self, counts=self.counts + 1)


def content_line(content: Content) -> Line:
    """Return one content as a line has it."""
    return {
        "content_id": content.content_id,
        "title": content.title,
        "content_type": content.content_type,
        "genres": list(content.genres),
        "year": content.year,
        "embedding": base64.b64encode(content.codes).decode(),
    }


def device_lines(loaded: Loaded) -> Iterator[Line]:
    """Yield every device with its patterns, by device id and pattern id."""
    table = loaded.table
    used = np.ones(table.free_devices.used, bool)
    used[table.free_devices.freed] = False
    slots = np.flatnonzero(used)
    slots = slots[np.argsort(_sortable(table.devices["device_id"][slots]))]
    for start in range(0, len(slots), _DEVICES_AT_ONCE):
        block = slots[start : start + _DEVICES_AT_ONCE]
        holding = table.holding(block)
        rows = table.patterns[holding.slots]
        order = np.lexsort((_sortable(rows["pattern_id"]), holding.owners))
        patterns = _patterns(rows[order], table.words)
        ends = np.searchsorted(holding.owners[order], np.arange(len(block)), side="right").tolist()
        begin = 0
        for row, end in zip(table.devices[block], ends, strict=True):
            yield _device(row, table.words) | {"patterns": patterns[begin:end]}
            begin = end


def count_lines(loaded: Loaded) -> Iterator[Line]:
    """Yield every hourly count, by hour and content id."""
    counts = loaded.ring.counts()
    words = loaded.table.words
    found = zip(
        counts.hours.tolist(), counts.contents.tolist(), counts.devices.tolist(), strict=True
    )
    named = sorted((hour, words.text(WordKind.CONTENT, number), n) for hour, number, n in found)
    for hour, content_id, devices in named:
        yield {"hour": hour, "content_id": content_id, "devices": devices}


def _sortable(ids: NDArray[np.void]) -> NDArray[np.bytes_]:
    """Return 16-byte ids as text of one length, whose order is that of their bytes."""
    return np.array([each.hex() for each in ids.tolist()], f"S{2 * ID_BYTES}")


def _device(row: np.void, words: Words) -> dict[str, Any]:
    signals = [int(number) for number in row["signal_contents"] if number]
    return {
        "device_id": row["device_id"].tobytes().hex(),
        "incarnation": int(row["incarnation"]),
        "seq": int(row["seq"]),
        "synced_at": int(row["synced_at"]),
        "signal_hour": int(row["signal_hour"]),
        "signal_content_ids": [words.text(WordKind.CONTENT, number) for number in signals],
    }


def _patterns(rows: PatternRows, words: Words) -> list[dict[str, Any]]:
    rates = rows["success_rate"].astype("U32").astype(float).tolist()  # the shortest that is exact
    numbers = [rows[name].tolist() for name in _PATTERN_NUMBERS]
    genres, contents = rows["genres"].tolist(), rows["contents"].tolist()
    return [
        {
            "pattern_id": row["pattern_id"].tobytes().hex(),
            "success_rate": rates[at],
            **{name: column[at] for name, column in zip(_PATTERN_NUMBERS, numbers, strict=True)},
            "genres": [words.text(WordKind.GENRE, number) for number in genres[at] if number],
            "content_ids": [
                words.text(WordKind.CONTENT, number) for number in contents[at] if number
            ],
            "embedding": base64.b64encode(row["codes"].tobytes()).decode(),
        }
        for at, row in enumerate(rows)
    ]


@dataclass(frozen=True, slots=True)
class Numbered:
    """One line of an archive, and its number there."""

    number: int
    found: Line


@dataclass(frozen=True, slots=True)
class ContentBatch:
    """Contents to store, and the words they bring."""

    contents: Sequence[Content]
    words: Sequence[Word]


Prepared = ContentBatch | Changes


def parse(text: bytes, number: int) -> tuple[str, Numbered]:
    """Return the kind of one line, and what it holds. Raises InvalidInputError when it is none."""
    try:
        line = json.loads(text)
        ((kind, found),) = line.items() if len(line) == 1 else [("head", line)]
    except (ValueError, AttributeError, TypeError):
        raise InvalidInputError(f"line {number}", "is not a JSON object") from None
    if kind not in KINDS or not isinstance(found, dict):
        raise InvalidInputError(f"line {number}", f"is of an unknown kind, {kind!r}")
    return kind, Numbered(number, found)


class Writer:
    """Turns lines into what a store has to write: an empty one, commit by commit.

    Every method raises InvalidInputError for a line that is wrong.
    """

    def __init__(self) -> None:
        self._words = Words()
        self._totals = Totals()
        self._last_device = ""

    def prepare(self, kind: str, lines: Sequence[Numbered]) -> Prepared:
        """Return what some lines of one kind make a store write."""
        match kind:
            case "content":
                return self.contents(lines)
            case "device":
                return self.devices(lines)
            case "count":
                return self.counts(lines)
            case _:
                raise InvalidInputError(f"line {lines[0].number}", f"must not be a {kind}")

    def contents(self, lines: Sequence[Numbered]) -> ContentBatch:
        """Return contents and the words they bring."""
        words = NewWords(self._words)
        contents = [_converted(line, _to_content) for line in lines]
        words.numbers(WordKind.CONTENT, [content.content_id for content in contents])
        for content in contents:
            words.numbers(WordKind.GENRE, content.genres)
        self._words.add(words.words())
        return ContentBatch(contents, words.words())

    def devices(self, lines: Sequence[Numbered]) -> Changes:
        """Return the commit that stores some devices with their patterns."""
        words = NewWords(self._words)
        first = self._totals.devices
        found = [_converted(line, partial(_to_device, words=words)) for line in lines]
        patterns = [
            pattern
            for place, line in enumerate(lines)
            for pattern in _converted(
                line, partial(_to_patterns, device=first + place, words=words)
            )
        ]
        self._require_order(lines)
        devices, rows = _array(found, DEVICE, lines), _array(patterns, PATTERN, lines)
        _require_valid(rows, lines)
        rows["lsn"] = self._totals.lsn + 1
        device_slots = np.arange(first, first + len(devices))
        slots = np.arange(self._totals.patterns, self._totals.patterns + len(rows))
        self._words.add(words.words())
        self._totals = Totals(
            self._totals.lsn + 1,
            self._totals.patterns + len(rows),
            first + len(devices),
            (self._totals.pattern_digest + digest(slots, rows)) % _MODULUS,
            (self._totals.device_digest + digest(device_slots, devices)) % _MODULUS,
        )
        return Changes(
            self._totals,
            slots=slots,
            rows=rows,
            device_slots=device_slots,
            device_rows=devices,
            words=words.words(),
        )

    def counts(self, lines: Sequence[Numbered]) -> Changes:
        """Return the commit that stores some hourly counts."""
        words = NewWords(self._words)
        found = [_converted(line, partial(_to_count, words=words)) for line in lines]
        hours, contents, devices = _array(found, _COUNT, lines).view("<u4").reshape(-1, 3).T
        self._words.add(words.words())
        self._totals = replace(self._totals, lsn=self._totals.lsn + 1)
        counts = HourlyCounts(hours.copy(), contents.copy(), devices.copy())
        return Changes(self._totals, words=words.words(), counts=counts)

    def _require_order(self, lines: Sequence[Numbered]) -> None:
        for line in lines:
            device_id = line.found["device_id"]
            if device_id <= self._last_device:
                raise InvalidInputError(
                    f"line {line.number}", f"device {device_id} comes twice, or out of order"
                )
            self._last_device = device_id


def _converted(line: Numbered, convert: Callable[[Line], T]) -> T:
    try:
        return convert(line.found)
    except KeyError as error:
        raise InvalidInputError(f"line {line.number}", f"lacks {error}") from error
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"line {line.number}", f"is wrong: {error}") from error


def _array(
    rows: Sequence[tuple[Any, ...]], dtype: np.dtype[np.void], lines: Sequence[Numbered]
) -> NDArray[np.void]:
    try:
        return np.array(rows, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(_where(lines), f"hold a wrong number: {error}") from error


def _require_valid(rows: PatternRows, lines: Sequence[Numbered]) -> None:
    rates, counts = rows["success_rate"], rows["sample_count"]
    for name, valid in (
        ("success_rate", (rates >= 0) & (rates <= 1)),
        ("sample_count", (counts >= 1) & (counts <= MAX_SAMPLE_COUNT)),
        ("time_of_day", rows["time_of_day"] <= LAST_TIME_OF_DAY),
        ("day_type", rows["day_type"] <= LAST_DAY_TYPE),
        ("content_type", rows["content_type"] <= LAST_CONTENT_TYPE),
    ):
        if not valid.all():
            raise InvalidInputError(_where(lines), f"hold a wrong {name}: {rows[name][~valid][0]}")


def _where(lines: Sequence[Numbered]) -> str:
    return f"lines {lines[0].number} to {lines[-1].number}"


def _to_content(line: Line) -> Content:
    return Content(
        line["content_id"],
        line["title"],
        line["content_type"],
        tuple(line["genres"]),
        line["year"],
        _codes(line),
    )


def _to_device(line: Line, words: NewWords) -> tuple[Any, ...]:
    signals = words.numbers(WordKind.CONTENT, line["signal_content_ids"])
    return (
        _id(line["device_id"]),
        line["incarnation"],
        line["seq"],
        line["synced_at"],
        line["signal_hour"],
        _padded(signals, SIGNALS_PER_HOUR),
    )


def _to_patterns(line: Line, device: int, words: NewWords) -> list[tuple[Any, ...]]:
    ids = [pattern["pattern_id"] for pattern in line["patterns"]]
    if sorted(set(ids)) != ids:
        raise ValueError("a pattern comes twice, or out of order")
    return [_to_pattern(pattern, device, words) for pattern in line["patterns"]]


def _to_count(line: Line, words: NewWords) -> tuple[int, ...]:
    (number,) = words.numbers(WordKind.CONTENT, [line["content_id"]])
    return (line["hour"], number, line["devices"])


def _to_pattern(line: Line, device: int, words: NewWords) -> tuple[Any, ...]:
    return (
        0,  # its commit, once that is known
        device,
        line["success_rate"],
        *(line[name] for name in _PATTERN_NUMBERS),
        0,
        _id(line["pattern_id"]),
        _padded(words.numbers(WordKind.GENRE, line["genres"]), GENRES),
        _padded(words.numbers(WordKind.CONTENT, line["content_ids"]), CONTENTS),
        np.frombuffer(_codes(line), np.int8),
    )


def _id(text: str) -> bytes:
    found = bytes.fromhex(text)
    if len(found) != ID_BYTES:
        raise ValueError(f"an id must be {ID_BYTES} bytes, got {text!r}")
    return found


def _codes(line: Line) -> bytes:
    try:
        codes = base64.b64decode(line["embedding"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"an embedding is not base64: {error}") from error
    if len(codes) != DIMENSION or not any(codes):
        raise ValueError(f"an embedding must be {DIMENSION} codes, not all 0")
    return codes


def _padded(numbers: Sequence[int], width: int) -> tuple[int, ...]:
    if len(numbers) > width or 0 in numbers:
        raise ValueError(f"at most {width} words, and no more than a shard can number")
    return (*numbers, *(0,) * (width - len(numbers)))
