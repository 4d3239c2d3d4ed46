"""Converts the lines of an archive to writes for a store, and checks every value."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from constellation.archive.lines import (
    MAX_UINT16,
    MAX_UINT32,
    PATTERN_INTEGER_FIELDS,
    STANDING_FIELDS,
    SUBJECT_FIELDS,
    WEEK_FIELDS,
)
from constellation.core.rows import (
    DEVICE,
    DIGEST_MODULUS,
    LAST_CONTENT_TYPE,
    LIKED,
    MAX_LIKED,
    MAX_SIGNALS_PER_HOUR,
    PATTERN,
    TermKind,
    digest_rows,
)
from constellation.core.store import CommitWrites, Content, HourlyCounts, Term, Totals
from constellation.core.table.catalogue_digest import CatalogueDigest
from constellation.core.table.hourly import digest_counts
from constellation.core.table.vocabulary import TERM_LIMITS, PendingTerms, Vocabulary
from constellation.encoding import DIMENSION, ID_BYTES
from constellation.errors import InvalidInputError
from constellation.federated.terms import MAX_CONTENTS, MAX_GENRES, check_term

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from constellation.archive.lines import Line, NumberedLine


_ID: Final = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ContentBatch:
    """Content items to store, and the new terms that they use."""

    contents: Sequence[Content]
    terms: Sequence[Term]
    digest: int
    """The digest of the catalogue once this is stored as well."""


StoreWrite = ContentBatch | CommitWrites


class ArchiveImporter:
    """Converts lines to the writes that fill an empty store, commit by commit.

    With `final_totals`, each commit states the totals of the whole archive. A store that got only a
    part of the archive then disagrees with its totals, and no shard serves it. Every method raises
    InvalidInputError for a line that is wrong.
    """

    def __init__(self, final_totals: Totals | None = None) -> None:
        self.totals = Totals()
        """Totals of everything prepared so far."""
        self._final_totals = final_totals
        self._vocabulary = Vocabulary()
        self._digest = CatalogueDigest(self._vocabulary)
        self._last_keys: dict[str, tuple[int, int, str]] = {}

    def begin(self) -> CommitWrites:
        """Return the first commit. It has no rows, so the store disagrees with `final_totals`."""
        return CommitWrites(self._advance_totals())

    def prepare(self, kind: str, lines: Sequence[NumberedLine]) -> StoreWrite:
        """Return the write for some lines of one kind."""
        match kind:
            case "content":
                return self._prepare_contents(lines)
            case "device":
                return self._prepare_devices(lines)
            case "count":
                return self._prepare_counts(lines)
            case _:
                raise InvalidInputError(
                    f"line {lines[0].number}", f"must not have the kind {kind!r}"
                )

    def _prepare_contents(self, lines: Sequence[NumberedLine]) -> ContentBatch:
        terms = PendingTerms(self._vocabulary)
        contents = [_convert_line(line, _to_content) for line in lines]
        for line, content in zip(lines, contents, strict=True):
            self._require_order(line, "content", (0, 0, content.content_id))
        terms.assign_numbers(TermKind.CONTENT, [content.content_id for content in contents])
        for content in contents:
            terms.assign_numbers(TermKind.GENRE, content.genres)
        self._add_terms(terms)
        self._digest.add(contents)
        return ContentBatch(contents, terms.to_terms(), self._digest.total)

    def _prepare_devices(self, lines: Sequence[NumberedLine]) -> CommitWrites:
        terms, first = PendingTerms(self._vocabulary), self.totals.devices
        device_rows, pattern_rows, liked_rows = [], [], []
        for index, line in enumerate(lines):
            device_rows.append(_convert_line(line, partial(_to_device, terms=terms)))
            liked_rows.append((_convert_line(line, partial(_to_liked, terms=terms)),))
            self._require_order(line, "device", (0, 0, line.fields["device_id"]))
            convert = partial(_to_patterns, device=first + index, terms=terms)
            pattern_rows += _convert_line(line, convert)
        devices, rows = np.array(device_rows, DEVICE), np.array(pattern_rows, PATTERN)
        rows["lsn"] = self.totals.lsn + 1
        device_slots = np.arange(first, first + len(devices))
        slots = np.arange(self.totals.patterns, self.totals.patterns + len(rows))
        liked = np.array(liked_rows, LIKED)
        has_liked = liked["contents"][:, 0] > 0
        liked_devices, liked = device_slots[has_liked], liked[has_liked]
        self._add_terms(terms)
        self.totals = replace(
            self.totals,
            patterns=self.totals.patterns + len(rows),
            devices=first + len(devices),
            pattern_digest=(self.totals.pattern_digest + digest_rows(slots, rows)) % DIGEST_MODULUS,
            device_digest=(self.totals.device_digest + digest_rows(device_slots, devices))
            % DIGEST_MODULUS,
            liked_digest=(self.totals.liked_digest + digest_rows(liked_devices, liked))
            % DIGEST_MODULUS,
        )
        return CommitWrites(
            self._advance_totals(),
            slots=slots,
            rows=rows,
            device_slots=device_slots,
            device_rows=devices,
            liked_devices=liked_devices,
            liked_rows=liked,
            terms=terms.to_terms(),
            new_catalogue_digest=self._digest.total,
        )

    def _prepare_counts(self, lines: Sequence[NumberedLine]) -> CommitWrites:
        terms = PendingTerms(self._vocabulary)
        rows = [_convert_line(line, partial(_to_count, terms=terms)) for line in lines]
        for line in lines:
            kind = _find_subject(line.fields)
            key = (line.fields["hour"], kind, line.fields[SUBJECT_FIELDS[kind]])
            self._require_order(line, "count", key)
        hours, kinds, numbers, devices = np.array(rows, np.uint32).T
        self._add_terms(terms)
        counts = HourlyCounts(hours, kinds.astype(np.uint8), numbers, devices)
        before = self.totals.count_digest or 0
        count_digest = (before + digest_counts(counts)) % DIGEST_MODULUS
        self.totals = replace(self.totals, count_digest=count_digest)
        return CommitWrites(
            self._advance_totals(),
            terms=terms.to_terms(),
            counts=counts,
            new_catalogue_digest=self._digest.total,
        )

    def _add_terms(self, terms: PendingTerms) -> None:
        self._vocabulary.add(terms.to_terms())
        self._digest.add_terms(terms.to_terms())

    def _advance_totals(self) -> Totals:
        """Count one more commit, and return the totals that it states."""
        self.totals = replace(self.totals, lsn=self.totals.lsn + 1)
        return replace(self._final_totals or self.totals, lsn=self.totals.lsn)

    def _require_order(self, line: NumberedLine, kind: str, key: tuple[int, int, str]) -> None:
        if kind in self._last_keys and key <= self._last_keys[kind]:
            raise InvalidInputError(
                f"line {line.number}", f"has {kind} {key[2]} twice or out of order"
            )
        self._last_keys[kind] = key


def _convert_line(line: NumberedLine, convert: Callable[[Line], T]) -> T:
    try:
        return convert(line.fields)
    except KeyError as error:
        raise InvalidInputError(f"line {line.number}", f"lacks the field {error}") from error
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"line {line.number}", f"is wrong: {error}") from error


def _to_content(line: Line) -> Content:
    genres = [check_term(_require_text(genre)) for genre in _require_list(line["genres"])]
    title = _require_text(line["title"])
    if "\0" in title:
        raise ValueError(f"a title must not contain NUL, got {title!r}")
    title.encode()  # half of a character raises ValueError
    if len(genres) > MAX_GENRES:
        raise ValueError(f"there must be at most {MAX_GENRES} genres, got {len(genres)}")
    return Content(
        check_term(_require_text(line["content_id"])),
        title,
        _require_integer(line["content_type"], 1, LAST_CONTENT_TYPE),
        tuple(genres),
        _require_integer(line["year"], 0, MAX_UINT32),
        _decode_codes(line),
    )


def _to_device(line: Line, terms: PendingTerms) -> tuple[Any, ...]:
    return (
        _parse_id(line["device_id"]),
        _require_integer(line["incarnation"], 1, 2**64 - 1),
        _require_integer(line["seq"], 0, 2**63 - 1),
        _require_integer(line["synced_at"], 0, MAX_UINT32),
        _require_integer(line["signal_hour"], 0, MAX_UINT32),
        _number_terms(line["signal_content_ids"], TermKind.CONTENT, MAX_SIGNALS_PER_HOUR, terms),
        *(_require_integer(line.get(name, 0), 0, most) for name, most in STANDING_FIELDS),
        0,  # reserved
        *(_require_integer(line.get(name, 0), 0, MAX_UINT16) for name in WEEK_FIELDS),
    )


def _to_liked(line: Line, terms: PendingTerms) -> tuple[int, ...]:
    """Return what a device liked, the latest first; archives of earlier versions do not have it."""
    texts = _require_list(line.get("liked_content_ids", []))
    if len(set(map(str, texts))) != len(texts):
        raise ValueError("the liked content of a device must be distinct")
    return _number_terms(texts[::-1], TermKind.CONTENT, MAX_LIKED, terms)


def _to_patterns(line: Line, device: int, terms: PendingTerms) -> list[tuple[Any, ...]]:
    patterns = _require_list(line["patterns"])
    ids = [pattern["pattern_id"] for pattern in patterns]
    if sorted(set(ids)) != ids:
        raise ValueError("the patterns of a device must be in the order of their ids, each once")
    return [_to_pattern(pattern, device, terms) for pattern in patterns]


def _to_count(line: Line, terms: PendingTerms) -> tuple[int, ...]:
    kind = _find_subject(line)
    (number,) = _number_terms([line[SUBJECT_FIELDS[kind]]], kind, 1, terms)
    return (
        _require_integer(line["hour"], 0, MAX_UINT32),
        kind,
        number,
        _require_integer(line["devices"], 0, MAX_UINT32),
    )


def _find_subject(line: Line) -> TermKind:
    """Return whether a count is of a genre or of a content item.

    Archives of earlier versions have no counts of genres.
    """
    return TermKind.GENRE if SUBJECT_FIELDS[TermKind.GENRE] in line else TermKind.CONTENT


def _to_pattern(line: Line, device: int, terms: PendingTerms) -> tuple[Any, ...]:
    return (
        0,  # the lsn, set once the commit is known
        device,
        _require_rate(line["success_rate"]),
        *(_require_integer(line[name], low, high) for name, low, high in PATTERN_INTEGER_FIELDS),
        0,  # reserved
        _parse_id(line["pattern_id"]),
        _number_terms(line["genres"], TermKind.GENRE, MAX_GENRES, terms),
        _number_terms(line["content_ids"], TermKind.CONTENT, MAX_CONTENTS, terms),
        np.frombuffer(_decode_codes(line), np.int8),
    )


def _require_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a value must be text, got {value!r}")
    return value


def _require_list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a value must be a list, got {value!r}")
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
    """Return the bytes of an id.

    Only lower-case digits are valid, so that the order of texts is the order of the bytes.
    """
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise ValueError(f"an id must be {2 * ID_BYTES} lower-case hex digits, got {text!r}")
    return bytes.fromhex(text)


def _decode_codes(line: Line) -> bytes:
    try:
        codes = base64.b64decode(_require_text(line["embedding"]), validate=True)
    except binascii.Error as error:
        raise ValueError(f"an embedding must be base64: {error}") from error
    if len(codes) != DIMENSION:
        raise ValueError(f"an embedding must have {DIMENSION} codes, got {len(codes)}")
    if not any(codes):
        raise ValueError("an embedding must not be all zeros")
    return codes


def _number_terms(
    texts: object, kind: TermKind, width: int, terms: PendingTerms
) -> tuple[int, ...]:
    """Return the numbers of the texts, padded with 0 to the `width` numbers of a row."""
    numbers = terms.assign_numbers(
        kind, [check_term(_require_text(text)) for text in _require_list(texts)]
    )
    if len(numbers) > width:
        raise ValueError(f"a list must have at most {width} terms, got {len(numbers)}")
    if 0 in numbers:
        raise ValueError(f"a shard can store at most {TERM_LIMITS[kind]} terms of this kind")
    return (*numbers, *(0,) * (width - len(numbers)))
