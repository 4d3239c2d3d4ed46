"""Rows of related content: the neighbours of each content item, as they are published."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAX_SHIFT: Final = 30
_MAX_CODE: Final = 127
_CHANGED_SHARE: Final = 0.1
"""A row is published anew once its weights changed by more than this share of their sum."""
_HALF_ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class RelatedRow:
    """What households who liked one content item also liked."""

    content_id: str
    neighbours: tuple[str, ...]
    """Those with the largest weight first; ties by content id."""
    codes: tuple[int, ...]
    """The weight of each neighbour in units of 2**-shift: from -127 to 127, never 0."""
    shift: int
    """From 0 to 30."""

    def make_id(self) -> bytes:
        """Return the id of this revision, 16 bytes: the same for the same row on any federation."""
        neighbours = "\0".join(self.neighbours).encode()
        codes = np.array(self.codes, np.int8).tobytes()
        revision = sha256(bytes([self.shift, len(codes)]) + codes + neighbours).digest()
        name = sha256(self.content_id.encode()).digest()
        return name[:_HALF_ID_BYTES] + revision[:_HALF_ID_BYTES]

    def to_weights(self) -> dict[str, float]:
        """Return the weight of each neighbour."""
        scale = 2.0**-self.shift
        return {
            neighbour: code * scale
            for neighbour, code in zip(self.neighbours, self.codes, strict=True)
        }


def make_rows(
    content_ids: Sequence[str],
    weights: NDArray[np.float64],
    is_shared: NDArray[np.bool_],
    limit: int,
) -> list[RelatedRow]:
    """Return the rows that have neighbours, in the order of the content items.

    `weights` and `is_shared` have shape (n, n). `is_shared` says which pairs enough households
    like: no other pair is published. A row has the neighbours with the largest weights by amount,
    at most `limit`.
    """
    order = sorted(range(len(content_ids)), key=lambda position: content_ids[position])
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    rows = []
    for position, content_id in enumerate(content_ids):
        candidates = np.flatnonzero(is_shared[position])
        candidates = candidates[candidates != position]
        chosen = _select_largest(candidates, weights[position, candidates], ranks, limit)
        codes, shift = quantise_weights(weights[position, chosen])
        kept = np.flatnonzero(codes)
        kept = kept[np.lexsort((ranks[chosen[kept]], -codes[kept].astype(np.int64)))]
        if len(kept):
            neighbours = tuple(content_ids[each] for each in chosen[kept].tolist())
            rows.append(RelatedRow(content_id, neighbours, tuple(codes[kept].tolist()), shift))
    return rows


def _select_largest(
    candidates: NDArray[np.int64],
    weights: NDArray[np.float64],
    ranks: NDArray[np.int64],
    limit: int,
) -> NDArray[np.int64]:
    """Return the candidates with the largest weights by amount; ties go to the first rank."""
    amounts = np.abs(weights)
    if len(candidates) > limit:
        least = np.partition(amounts, len(amounts) - limit)[len(amounts) - limit]
        is_large = amounts >= least
        candidates, amounts = candidates[is_large], amounts[is_large]
    return candidates[np.lexsort((ranks[candidates], -amounts))][:limit]


def quantise_weights(weights: NDArray[np.float64]) -> tuple[NDArray[np.int8], int]:
    """Return the weights as int8 in units of 2**-shift, and the shift.

    The shift is the one by which the largest amount is from 64 to 127. Amounts that no shift from 0
    to 30 brings there are as near as possible: at most 127.
    """
    largest = float(np.abs(weights).max(initial=0.0))
    shift = 0
    while shift < MAX_SHIFT and np.rint(largest * 2.0 ** (shift + 1)) <= _MAX_CODE:
        shift += 1
    codes = np.clip(np.rint(weights * 2.0**shift), -_MAX_CODE, _MAX_CODE)
    return codes.astype(np.int8), shift


def keep_unchanged(
    rows: Sequence[RelatedRow],
    published: Sequence[RelatedRow],
    content_ids: Sequence[str],
    is_shared: NDArray[np.bool_],
) -> list[RelatedRow]:
    """Return the rows, those that hardly changed as they were published before.

    `is_shared` says which pairs of `content_ids` enough households like. A published row that names
    a neighbour without that is replaced at once: privacy comes first.
    """
    position_of = {content_id: position for position, content_id in enumerate(content_ids)}
    before = {row.content_id: row for row in published}

    def is_permitted(row: RelatedRow) -> bool:
        positions = [position_of.get(each, -1) for each in row.neighbours]
        return -1 not in positions and bool(is_shared[position_of[row.content_id], positions].all())

    kept = []
    for row in rows:
        known = before.get(row.content_id)
        is_kept = known is not None and is_permitted(known) and _is_similar(known, row)
        kept.append(known if known is not None and is_kept else row)
    return kept


def _is_similar(known: RelatedRow, row: RelatedRow) -> bool:
    before, after = known.to_weights(), row.to_weights()
    names = before.keys() | after.keys()
    # Sums in one order: those of floats depend on it, and every federation must decide alike.
    change = sum(abs(before.get(each, 0.0) - after.get(each, 0.0)) for each in sorted(names))
    return change <= _CHANGED_SHARE * sum(abs(each) for each in before.values())
