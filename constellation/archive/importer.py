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
    MAX_SIGNALS_PER_HOUR,
    PATTERN,
    TermKind,
    digest_rows,
)
from constellation.core.store import CommitWrites, Content, HourlyCounts, Term, Totals
from constellation.core.table.vocabulary import PendingTerms, Vocabulary
from constellation.encoding import DIMENSION, ID_BYTES
from constellation.errors import InvalidInputError
from constellation.federated.terms import MAX_CONTENTS, MAX_GENRES, check_term

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from constellation.archive.lines import Line, NumberedLine


_MODULUS: Final = 2**64
_UINT32: Final = 2**32 - 1
PATTERN_INTEGER_FIELDS: Final = (
    ("sample_count", 1, MAX_SAMPLE_COUNT),
    ("created_at", 0, _UINT32),
    ("updated_at", 0, _UINT32),
    ("time_of_day", 0, LAST_TIME_OF_DAY),
    ("day_type", 0, LAST_DAY_TYPE),
    ("content_type", 0, LAST_CONTENT_TYPE),
)
"""Columns of a pattern that are numbers, in the order of its row, and what they may be."""
SUBJECT_FIELDS: Final = {TermKind.GENRE: "genre", TermKind.CONTENT: "content_id"}
"""By kind of word: the field of a count that names it."""
_ID: Final = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ContentBatch:
    """Contents to store, and the words they bring."""

    contents: Sequence[Content]
    terms: Sequence[Term]


StoreWrite = ContentBatch | CommitWrites


class ArchiveImporter:
    """Turns lines into what a store has to write: an empty one, commit by commit.

    Each commit states the totals of the whole archive, where these are known: a store that got only
    a part of it does not add up, and is never served. Every method raises InvalidInputError for a
    line that is wrong.
    """

    def __init__(self, final_totals: Totals | None = None) -> None:
        self.totals = Totals()
        """Of what was prepared so far."""
        self._final_totals = final_totals
        self._vocabulary = Vocabulary()
        self._last_keys: dict[str, tuple[int, int, str]] = {}

    def begin(self) -> CommitWrites:
        """Return the first commit, which makes the store one that does not add up yet."""
        return CommitWrites(self._advance_totals())

    def prepare(self, kind: str, lines: Sequence[NumberedLine]) -> StoreWrite:
        """Return what some lines of one kind make a store write."""
        match kind:
            case "content":
                return self._prepare_contents(lines)
            case "device":
                return self._prepare_devices(lines)
            case "count":
                return self._prepare_counts(lines)
            case _:
                raise InvalidInputError(f"line {lines[0].number}", f"must not be a {kind}")

    def _prepare_contents(self, lines: Sequence[NumberedLine]) -> ContentBatch:
        terms = PendingTerms(self._vocabulary)
        contents = [_convert_line(line, _to_content) for line in lines]
        for line, content in zip(lines, contents, strict=True):
            self._require_order(line, "content", (0, 0, content.content_id))
        terms.assign_numbers(TermKind.CONTENT, [content.content_id for content in contents])
        for content in contents:
            terms.assign_numbers(TermKind.GENRE, content.genres)
        self._vocabulary.add(terms.to_terms())
        return ContentBatch(contents, terms.to_terms())

    def _prepare_devices(self, lines: Sequence[NumberedLine]) -> CommitWrites:
        terms, first = PendingTerms(self._vocabulary), self.totals.devices
        found, patterns = [], []
        for index, line in enumerate(lines):
            found.append(_convert_line(line, partial(_to_device, terms=terms)))
            self._require_order(line, "device", (0, 0, line.fields["device_id"]))
            convert = partial(_to_patterns, device=first + index, terms=terms)
            patterns += _convert_line(line, convert)
        devices, rows = np.array(found, DEVICE), np.array(patterns, PATTERN)
        rows["lsn"] = self.totals.lsn + 1
        device_slots = np.arange(first, first + len(devices))
        slots = np.arange(self.totals.patterns, self.totals.patterns + len(rows))
        self._vocabulary.add(terms.to_terms())
        self.totals = replace(
            self.totals,
            patterns=self.totals.patterns + len(rows),
            devices=first + len(devices),
            pattern_digest=(self.totals.pattern_digest + digest_rows(slots, rows)) % _MODULUS,
            device_digest=(self.totals.device_digest + digest_rows(device_slots, devices))
            % _MODULUS,
        )
        return CommitWrites(
            self._advance_totals(),
            slots=slots,
            rows=rows,
            device_slots=device_slots,
            device_rows=devices,
            terms=terms.to_terms(),
        )

    def _prepare_counts(self, lines: Sequence[NumberedLine]) -> CommitWrites:
        terms = PendingTerms(self._vocabulary)
        found = [_convert_line(line, partial(_to_count, terms=terms)) for line in lines]
        for line in lines:
            kind = _find_subject(line.fields)
            key = (line.fields["hour"], kind, line.fields[SUBJECT_FIELDS[kind]])
            self._require_order(line, "count", key)
        hours, kinds, numbers, devices = np.array(found, np.uint32).T
        self._vocabulary.add(terms.to_terms())
        counts = HourlyCounts(hours, kinds.astype(np.uint8), numbers, devices)
        return CommitWrites(self._advance_totals(), terms=terms.to_terms(), counts=counts)

    def _advance_totals(self) -> Totals:
        """Return the totals of the next commit."""
        self.totals = replace(self.totals, lsn=self.totals.lsn + 1)
        return replace(self._final_totals or self.totals, lsn=self.totals.lsn)

    def _require_order(self, line: NumberedLine, kind: str, key: tuple[int, int, str]) -> None:
        if kind in self._last_keys and key <= self._last_keys[kind]:
            raise InvalidInputError(
                f"line {line.number}", f"{kind} {key[2]} comes twice, or out of order"
            )
        self._last_keys[kind] = key


def _convert_line(line: NumberedLine, convert: Callable[[Line], T]) -> T:
    try:
        return convert(line.fields)
    except KeyError as error:
        raise InvalidInputError(f"line {line.number}", f"lacks {error}") from error
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"line {line.number}", f"is wrong: {error}") from error


def _to_content(line: Line) -> Content:
    genres = [check_term(_require_text(genre)) for genre in _require_list(line["genres"])]
    title = _require_text(line["title"])
    if "\0" in title or len(genres) > MAX_GENRES:
        raise ValueError(f"a title must not hold NUL, and genres be at most {MAX_GENRES}")
    return Content(
        check_term(_require_text(line["content_id"])),
        title,
        _require_integer(line["content_type"], 1, LAST_CONTENT_TYPE),
        tuple(genres),
        _require_integer(line["year"], 0, _UINT32),
        _decode_codes(line),
    )


def _to_device(line: Line, terms: PendingTerms) -> tuple[Any, ...]:
    return (
        _parse_id(line["device_id"]),
        _require_integer(line["incarnation"], 1, 2**64 - 1),
        _require_integer(line["seq"], 0, 2**63 - 1),
        _require_integer(line["synced_at"], 0, _UINT32),
        _require_integer(line["signal_hour"], 0, _UINT32),
        _number_terms(line["signal_content_ids"], TermKind.CONTENT, MAX_SIGNALS_PER_HOUR, terms),
    )


def _to_patterns(line: Line, device: int, terms: PendingTerms) -> list[tuple[Any, ...]]:
    patterns = _require_list(line["patterns"])
    ids = [pattern["pattern_id"] for pattern in patterns]
    if sorted(set(ids)) != ids:
        raise ValueError("a pattern comes twice, or out of order")
    return [_to_pattern(pattern, device, terms) for pattern in patterns]


def _to_count(line: Line, terms: PendingTerms) -> tuple[int, ...]:
    kind = _find_subject(line)
    (number,) = _number_terms([line[SUBJECT_FIELDS[kind]]], kind, 1, terms)
    return (
        _require_integer(line["hour"], 0, _UINT32),
        kind,
        number,
        _require_integer(line["devices"], 0, _UINT32),
    )


def _find_subject(line: Line) -> TermKind:
    """Return what a count is of; exports of earlier versions have none of genres."""
    return TermKind.GENRE if SUBJECT_FIELDS[TermKind.GENRE] in line else TermKind.CONTENT


def _to_pattern(line: Line, device: int, terms: PendingTerms) -> tuple[Any, ...]:
    return (
        0,  # its commit, once that is known
        device,
        _require_rate(line["success_rate"]),
        *(_require_integer(line[name], low, high) for name, low, high in PATTERN_INTEGER_FIELDS),
        0,
        _parse_id(line["pattern_id"]),
        _number_terms(line["genres"], TermKind.GENRE, MAX_GENRES, terms),
        _number_terms(line["content_ids"], TermKind.CONTENT, MAX_CONTENTS, terms),
        np.frombuffer(_decode_codes(line), np.int8),
    )


def _require_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"must be text, got {value!r}")
    return value


def _require_list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"must be a list, got {value!r}")
    return value


def _require_integer(value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"a number must be from {low} to {high}, got {value!r}")
    return value


def _require_rate(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"a success_rate must be from 0 to 1, got {value!r}")
    return value


def _parse_id(text: object) -> bytes:
    """Read an id; one text for each, so that their order is that of the bytes."""
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise ValueError(f"an id must be {2 * ID_BYTES} digits of lower-case hex, got {text!r}")
    return bytes.fromhex(text)


def _decode_codes(line: Line) -> bytes:
    try:
        codes = base64.b64decode(_require_text(line["embedding"]), validate=True)
    except binascii.Error as error:
        raise ValueError(f"an embedding is not base64: {error}") from error
    if len(codes) != DIMENSION or not any(codes):
        raise ValueError(f"an embedding must be {DIMENSION} codes, not all 0")
    return codes


def _number_terms(
    texts: object, kind: TermKind, width: int, terms: PendingTerms
) -> tuple[int, ...]:
    """Return the numbers of some words, 0 for none, as many as a row has."""
    numbers = terms.assign_numbers(
        kind, [check_term(_require_text(text)) for text in _require_list(texts)]
    )
    if len(numbers) > width or 0 in numbers:
        raise ValueError(f"at most {width} words, and no more than a shard can number")
    return (*numbers, *(0,) * (width - len(numbers)))
