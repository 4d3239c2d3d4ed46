"""Recall: how much of what is nearest the index really finds, measured while it serves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.changes import is_shared
from constellation.encoding import unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.index.pattern import PatternIndex
    from constellation.core.patterns import Slots
    from constellation.core.rules import Rules
    from constellation.core.table import Table
    from constellation.encoding import Embeddings

_QUERIES: Final = 32
_NEAREST: Final = 10
_ROWS: Final = 1 << 20
"""Rows compared at most: about a second of one core."""
_BLOCK: Final = 1 << 16
_TIE: Final = np.float32(1e-5)
"""Cosines nearer than this are one and the same: the order of equals is nobody's miss."""


@dataclass(frozen=True, slots=True)
class Recall:
    """What a probe found."""

    ratio: float
    """recall@10: of the patterns nearest to others, the share that a search returns."""
    search_seconds: float
    """One search for all queries of the probe."""


def measure(
    table: Table, index: PatternIndex, rules: Rules, random: np.random.Generator
) -> Recall | None:
    """Search near some stored patterns, and compare with every row of a sample of the table.

    A row of the sample that is nearer than the tenth that was found, and was not found, is a miss.
    Up to a million rows the sample is all of them, and this is recall@10 itself. Returns None
    while there is too little to search. Belongs in a worker thread: rows may change meanwhile,
    which shows as a miss or two.
    """
    blocks = list(_blocks(table, rules, random))
    slots = np.concatenate([slots for slots in blocks if len(slots)] or [np.empty(0, np.int64)])
    if len(slots) <= _NEAREST:
        return None
    asked = random.choice(slots, min(_QUERIES, len(slots)), replace=False)
    queries = unit(table.patterns["codes"][asked])
    started = time.perf_counter()
    scores, found = index.search(queries, _NEAREST + 1)
    seconds = time.perf_counter() - started
    own = found == asked[:, None]
    worst = np.where(own | (found < 0), np.inf, scores).min(axis=1)
    hits = sum(int((np.isin(found, block) & ~own).sum()) for block in blocks)
    misses = sum(_missed(table, block, queries, asked, found, worst) for block in blocks)
    return Recall(hits / (hits + misses) if hits + misses else 1.0, seconds)


def _blocks(table: Table, rules: Rules, random: np.random.Generator) -> list[Slots]:
    """Return the slots of shared patterns, in neighbouring blocks picked at random."""
    starts = np.arange(0, table.free_patterns.used, _BLOCK)
    if len(starts) * _BLOCK > _ROWS:
        starts = np.sort(random.choice(starts, _ROWS // _BLOCK, replace=False))
    return [_shared(table, rules, int(start)) for start in starts]


def _shared(table: Table, rules: Rules, start: int) -> Slots:
    rows = table.patterns[start : min(start + _BLOCK, table.free_patterns.used)]
    return np.flatnonzero(is_shared(rows, rules) & ~table.away[rows["device"]]) + start


def _missed(
    table: Table,
    block: Slots,
    queries: Embeddings,
    asked: Slots,
    found: NDArray[np.int64],
    worst: NDArray[np.float32],
) -> int:
    """Return how many rows of a block are nearer than the worst that was found, and were not."""
    cosines = unit(table.patterns["codes"][block]) @ queries.T
    rows, of_query = np.nonzero(cosines > worst[None, :] + _TIE)
    nearer = block[rows]
    known = (found[of_query] == nearer[:, None]).any(axis=1) | (asked[of_query] == nearer)
    return int((~known).sum())
