"""Batches of searches: the tastes of many devices, and the results of many queries, in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.encoding import Embeddings, normalise_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rows import Slots
    from constellation.core.table.shard_table import Table

TASTE_QUERIES: Final = 8
"""Strongest patterns of a device that are searched for, each with its own query.

Their average would be near none of a device's several tastes.
"""
_EVIDENCE_CAP: Final = 16
"""Samples of a pattern that count for its strength."""
_SLOT_BITS: Final = 32
"""Slots are below 2**32, because groups refer to them with 32 bits."""
_SIGN_BIT: Final = 1 << 31


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """Distinct results of several requests, request after request, best first in each."""

    requests: NDArray[np.int64]
    """Shape (n,): the position of each result's request, ascending."""
    slots: Slots
    """Shape (n,)."""
    scores: NDArray[np.float32]
    """Shape (n,): the highest score among the queries of the request."""

    def select(self, chosen: NDArray[np.bool_]) -> Results:
        """Return the results that are chosen."""
        return Results(self.requests[chosen], self.slots[chosen], self.scores[chosen])

    def cut(self, limits: NDArray[np.int64]) -> Results:
        """Return no more results of each request than its limit; there is a limit for each."""
        starts = np.searchsorted(self.requests, np.arange(len(limits)))
        ranks = np.arange(len(self.requests)) - starts[self.requests]
        return self.select(ranks < limits[self.requests])


def read_tastes(table: Table, devices: Slots) -> tuple[Embeddings, NDArray[np.int64]]:
    """Return the embeddings of devices' strongest patterns, and the position of each one's device.

    The positions ascend, and the patterns of a device are ordered from strong to weak. The strength
    is the success rate times the sample count, capped at 16 samples. Row number -1 stands for no
    device.
    """
    found = table.find_patterns(devices)
    rates = table.patterns["success_rate"][found.slots]
    samples = np.minimum(table.patterns["sample_count"][found.slots], _EVIDENCE_CAP)
    order = np.lexsort((-(rates * samples), found.owners))
    starts = np.searchsorted(found.owners, np.arange(len(devices)))
    owners = found.owners[order]
    is_strong = np.arange(len(order)) - starts[owners] < TASTE_QUERIES
    strongest = found.slots[order[is_strong]]
    return normalise_codes(table.patterns["codes"][strongest]), owners[is_strong]


def merge_results(
    scores: NDArray[np.float32], slots: Slots, requests: NDArray[np.int64]
) -> Results:
    """Merge the results of each request's queries: each slot once, with its highest score.

    `scores` and `slots` have the shape (q, k), and `requests` says whose each query is; slot -1 is
    no result. Slots of the same score come in ascending order.
    """
    flat_slots, flat_scores = slots.ravel(), scores.ravel()
    keys = (np.repeat(requests, slots.shape[1]) << _SLOT_BITS) | flat_slots
    order = np.argsort(keys)
    order = order[flat_slots[order] >= 0]
    if not len(order):
        return Results(order, order, flat_scores[order])
    keys = keys[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    best = np.maximum.reduceat(flat_scores[order], starts)
    distinct = keys[starts]
    owners = distinct >> _SLOT_BITS
    ranking = np.argsort((owners << _SLOT_BITS) | _to_descending(best), kind="stable")
    found_slots = distinct & ((1 << _SLOT_BITS) - 1)
    return Results(owners[ranking], found_slots[ranking], best[ranking])


def _to_descending(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return numbers of 32 bits that ascend where scores descend, made of the bits of a float."""
    bits = scores.view(np.int32)
    ascending = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    return (~ascending).astype(np.int64) + _SIGN_BIT
