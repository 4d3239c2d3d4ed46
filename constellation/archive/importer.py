"""Lines of an archive as what a store has to write, each value checked."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from constellation.core.rows import (
    DEVICE,
    LAST_CONTENT_TYPE,
    LAST_DAY_TYPE,
    LAST_TIME_OF_DAY,
    MAX_SAMPLE_COUNT,
    PATTERN,
    SIGNALS_PER_HOUR,
    WordKind,
    digest,
)
from constellation.core.store import Changes, Content, HourlyCounts, Totals, Word
from constellation.core.table.vocabulary import NewWords, Words
from constellation.encoding import DIMENSION, ID_BYTES
from constellation.errors import InvalidInputError
from constellation.federated.terms import CONTENTS, GENRES, check_word

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from constellation.archive.lines import Line, Numbered


_MODULUS: Final = 2**64
_UINT32: Final = 2**32 - 1
PATTERN_NUMBERS: Final = (
    ("sample_count", 1, MAX_SAMPLE_COUNT),
    ("created_at", 0, _UINT32),
    ("updated_at", 0, _UINT32),
    ("time_of_day", 0, LAST_TIME_OF_DAY),
    ("day_type", 0, LAST_DAY_TYPE),
    ("content_type", 0, LAST_CONTENT_TYPE),
)
"""Columns of a pattern that are numbers, in the order of its row, and what they may be."""
SUBJECTS: Final = {WordKind.GENRE: "genre", WordKind.CONTENT: "content_id"}
"""By kind of word: the field of a count that names it."""
_ID: Final = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ContentBatch:
    """Contents to store, and the words they bring."""

    contents: Sequence[Content]
    words: Sequence[Word]


Prepared = ContentBatch | Changes


class Writer:
    """Turns lines into what a store has to write: an empty one, commit by commit.

    Each commit states the totals of the whole archive, where these are known: a store that got only
    a part of it does not add up, and is never served. Every method raises InvalidInputError for a
    line that is wrong.
    """

    def __init__(self, whole: Totals | None = None) -> None:
        self.totals = Totals()
        """Of what was prepared so far."""
        self._whole = whole
        self._words = Words()
        self._last: dict[str, tuple[int, int, str]] = {}

    def begin(self) -> Changes:
        """Return the first commit, which makes the store one that does not add up yet."""
        return Changes(self._next())

    def prepare(self, kind: str, lines: Sequence[Numbered]) -> Prepared:
        """Return what some lines of one kind make a store write."""
        match kind:
            case "content":
                return self._contents(lines)
            case "device":
                return self._devices(lines)
            case "count":
                return self._counts(lines)
            case _:
                raise InvalidInputError(f"line {lines[0].number}", f"must not be a {kind}")

    def _contents(self, lines: Sequence[Numbered]) -> ContentBatch:
        words = NewWords(self._words)
        contents = [_converted(line, _to_content) for line in lines]
        for line, content in zip(lines, contents, strict=True):
            self._require_order(line, "content", (0, 0, content.content_id))
        words.numbers(WordKind.CONTENT, [content.content_id for content in contents])
        for content in contents:
            words.numbers(WordKind.GENRE, content.genres)
        self._words.add(words.words())
        return ContentBatch(contents, words.words())

    def _devices(self, lines: Sequence[Numbered]) -> Changes:
        words, first = NewWords(self._words), self.totals.devices
        found, patterns = [], []
        for place, line in enumerate(lines):
            found.append(_converted(line, partial(_to_device, words=words)))
            self._require_order(line, "device", (0, 0, line.found["device_id"]))
            convert = partial(_to_patterns, device=first + place, words=words)
            patterns += _converted(line, convert)
        devices, rows = np.array(found, DEVICE), np.array(patterns, PATTERN)
        rows["lsn"] = self.totals.lsn + 1
        device_slots = np.arange(first, first + len(devices))
        slots = np.arange(self.totals.patterns, self.totals.patterns + len(rows))
        self._words.add(words.words())
        self.totals = replace(
            self.totals,
            patterns=self.totals.patterns + len(rows),
            devices=first + len(devices),
            pattern_digest=(self.totals.pattern_digest + digest(slots, rows)) % _MODULUS,
            device_digest=(self.totals.device_digest + digest(device_slots, devices)) % _MODULUS,
        )
        return Changes(
            self._next(),
            slots=slots,
            rows=rows,
            device_slots=device_slots,
            device_rows=devices,
            words=words.words(),
        )

    def _counts(self, lines: Sequence[Numbered]) -> Changes:
        words = NewWords(self._words)
        found = [_converted(line, partial(_to_count, words=words)) for line in lines]
        for line in lines:
            kind = _subject(line.found)
            key = (line.found["hour"], kind, line.found[SUBJECTS[kind]])
            self._require_order(line, "count", key)
        hours, kinds, numbers, devices = np.array(found, np.uint32).T
        self._words.add(words.words())
        counts = HourlyCounts(hours, kinds.astype(np.uint8), numbers, devices)
        return Changes(self._next(), words=words.words(), counts=counts)

    def _next(self) -> Totals:
        """Return the totals of the next commit."""
        self.totals = replace(self.totals, lsn=self.totals.lsn + 1)
        return replace(self._whole or self.totals, lsn=self.totals.lsn)

    def _require_order(self, line: Numbered, kind: str, key: tuple[int, int, str]) -> None:
        if kind in self._last and key <= self._last[kind]:
            raise InvalidInputError(
                f"line {line.number}", f"{kind} {key[2]} comes twice, or out of order"
            )
        self._last[kind] = key


def _converted(line: Numbered, convert: Callable[[Line], T]) -> T:
    try:
        return convert(line.found)
    except KeyError as error:
        raise InvalidInputError(f"line {line.number}", f"lacks {error}") from error
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"line {line.number}", f"is wrong: {error}") from error


def _to_content(line: Line) -> Content:
    genres = [check_word(_text(genre)) for genre in _list(line["genres"])]
    title = _text(line["title"])
    if "\0" in title or len(genres) > GENRES:
        raise ValueError(f"a title must not hold NUL, and genres be at most {GENRES}")
    return Content(
        check_word(_text(line["content_id"])),
        title,
        _integer(line["content_type"], 1, LAST_CONTENT_TYPE),
        tuple(genres),
        _integer(line["year"], 0, _UINT32),
        _codes(line),
    )


def _to_device(line: Line, words: NewWords) -> tuple[Any, ...]:
    return (
        _id(line["device_id"]),
        _integer(line["incarnation"], 1, 2**64 - 1),
        _integer(line["seq"], 0, 2**63 - 1),
        _integer(line["synced_at"], 0, _UINT32),
        _integer(line["signal_hour"], 0, _UINT32),
        _numbers(line["signal_content_ids"], WordKind.CONTENT, SIGNALS_PER_HOUR, words),
    )


def _to_patterns(line: Line, device: int, words: NewWords) -> list[tuple[Any, ...]]:
    patterns = _list(line["patterns"])
    ids = [pattern["pattern_id"] for pattern in patterns]
    if sorted(set(ids)) != ids:
        raise ValueError("a pattern comes twice, or out of order")
    return [_to_pattern(pattern, device, words) for pattern in patterns]


def _to_count(line: Line, words: NewWords) -> tuple[int, ...]:
    kind = _subject(line)
    (number,) = _numbers([line[SUBJECTS[kind]]], kind, 1, words)
    return (_integer(line["hour"], 0, _UINT32), kind, number, _integer(line["devices"], 0, _UINT32))


def _subject(line: Line) -> WordKind:
    """Return what a count is of; exports of earlier versions have none of genres."""
    return WordKind.GENRE if SUBJECTS[WordKind.GENRE] in line else WordKind.CONTENT


def _to_pattern(line: Line, device: int, words: NewWords) -> tuple[Any, ...]:
    return (
        0,  # its commit, once that is known
        device,
        _rate(line["success_rate"]),
        *(_integer(line[name], low, high) for name, low, high in PATTERN_NUMBERS),
        0,
        _id(line["pattern_id"]),
        _numbers(line["genres"], WordKind.GENRE, GENRES, words),
        _numbers(line["content_ids"], WordKind.CONTENT, CONTENTS, words),
        np.frombuffer(_codes(line), np.int8),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"must be text, got {value!r}")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"must be a list, got {value!r}")
    return value


def _integer(value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"a number must be from {low} to {high}, got {value!r}")
    return value


def _rate(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"a success_rate must be from 0 to 1, got {value!r}")
    return value


def _id(text: object) -> bytes:
    """Read an id; one text for each, so that their order is that of the bytes."""
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise ValueError(f"an id must be {2 * ID_BYTES} digits of lower-case hex, got {text!r}")
    return bytes.fromhex(text)


def _codes(line: Line) -> bytes:
    try:
        codes = base64.b64decode(_text(line["embedding"]), validate=True)
    except binascii.Error as error:
        raise ValueError(f"an embedding is not base64: {error}") from error
    if len(codes) != DIMENSION or not any(codes):
        raise ValueError(f"an embedding must be {DIMENSION} codes, not all 0")
    return codes


def _numbers(texts: object, kind: WordKind, width: int, words: NewWords) -> tuple[int, ...]:
    """Return the numbers of some words, 0 for none, as many as a row has."""
    numbers = words.numbers(kind, [check_word(_text(text)) for text in _list(texts)])
    if len(numbers) > width or 0 in numbers:
        raise ValueError(f"at most {width} words, and no more than a shard can number")
    return (*numbers, *(0,) * (width - len(numbers)))
