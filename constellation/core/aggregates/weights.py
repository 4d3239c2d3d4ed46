"""Weights: what each pattern adds to the sums of its cluster, in exact integers.

The weights of one device are bounded, so that no device dominates a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.federated.fixed_point import (
    DAY_TYPES,
    SUM_ONE,
    TIMES_OF_DAY,
    WEIGHT_ONE,
    ClusterSums,
    Integers,
    no_sums,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rows import PatternRows
    from constellation.encoding import Codes

SAMPLE_CAP: Final = 16
"""Samples of a pattern that count; more of them are only a device's own claim."""
_MIN_CLAIM: Final = 2**10
"""The smallest claim of a pattern, so that halving never brings it to zero."""
_SUM_UNITS_PER_WEIGHT: Final = SUM_ONE // WEIGHT_ONE
_BLOCK: Final = 4096
"""Rows added up at once: their sums stay below 2**50, so float64 adds them exactly."""


@dataclass(frozen=True, slots=True, eq=False)
class WeightChanges:
    """How the weights of patterns change, one pattern per row."""

    rows: PatternRows
    clusters: Integers
    """The row of the sums to which each pattern belongs."""
    before: Integers
    """The weights so far, in units of 1 / WEIGHT_ONE; 0 for a pattern that was not counted."""
    after: Integers
    """The new weights, in units of 1 / WEIGHT_ONE; 0 for a pattern that leaves the sums."""


def compute_claims(
    success_rates: NDArray[np.float32], sample_counts: NDArray[np.uint32]
) -> Integers:
    """Return success_rate x min(sample_count, SAMPLE_CAP) / SAMPLE_CAP, in units of 1 / WEIGHT_ONE.

    A claim is at least _MIN_CLAIM.
    """
    evidence = np.minimum(sample_counts, SAMPLE_CAP) * (WEIGHT_ONE / SAMPLE_CAP)
    claimed = np.rint(success_rates.astype(np.float64) * evidence).astype(np.int64)
    return np.maximum(claimed, _MIN_CLAIM)


def bound_weights(claimed: Integers, owners: Integers, devices: int) -> Integers:
    """Return weights whose sum is at most 1 for each device; `owners` are below `devices`.

    A device's claims are halved until their sum is at most 1. The sum of their squares is then at
    most 1 as well, in whichever clusters they are. Halving, unlike dividing by the sum, rarely
    changes the weights of a device's other patterns when one of them changes.
    """
    totals = np.bincount(owners, claimed.astype(np.float64), minlength=devices)
    mantissas, exponents = np.frexp(totals / WEIGHT_ONE)
    halvings = np.maximum(exponents - (mantissas == 0.5), 0)  # noqa: PLR2004 - a power of two
    weights: Integers = claimed >> halvings[owners]
    return weights


def compute_norms(codes: Codes) -> NDArray[np.float64]:
    """Return the norms of stored codes, shape (n,), at least 1. Squares are summed as integers."""
    wide = codes.astype(np.int32)
    norms: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", wide, wide).astype(np.float64))
    return np.maximum(norms, 1)


def compute_scale_factors(weights: Integers, norms: NDArray[np.float64]) -> Integers:
    """Return the integers by which stored codes are multiplied to give weight x embedding.

    Shape (n,). Every step rounds as IEEE 754 prescribes, so every machine gets the same bits.
    """
    factors: Integers = np.rint(weights * _SUM_UNITS_PER_WEIGHT / norms).astype(np.int64)
    return factors


def add_weight_changes(features: ClusterSums, changes: WeightChanges) -> None:
    """Replace the weights before by those after in the sums, in place.

    The counts of distinct devices do not change: the caller keeps them.
    """
    rows, clusters = changes.rows, changes.clusters
    change = changes.after - changes.before
    rates = rows["success_rate"].astype(np.float64)
    successes = np.rint(changes.after * rates) - np.rint(changes.before * rates)
    np.add.at(features.weights, clusters, change)
    np.add.at(features.successes, clusters, successes.astype(np.int64))
    day_types = rows["day_type"].astype(np.int64) + TIMES_OF_DAY
    content_types = rows["content_type"].astype(np.int64) + TIMES_OF_DAY + DAY_TYPES
    for columns in (rows["time_of_day"].astype(np.int64), day_types, content_types):
        np.add.at(features.contexts, (clusters, columns), change)
    norms = compute_norms(rows["codes"])
    factors = compute_scale_factors(changes.after, norms) - compute_scale_factors(
        changes.before, norms
    )
    order = np.argsort(clusters, kind="stable")
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        _add_sums(features.sums, clusters[block], rows["codes"][block], factors[block])


def sum_clusters(changes: WeightChanges, count: int) -> ClusterSums:
    """Return the sums of `count` clusters, without their counts of devices."""
    features = no_sums(count)
    add_weight_changes(features, changes)
    return features


def _add_sums(sums: Integers, clusters: Integers, codes: Codes, factors: Integers) -> None:
    """Add factor x codes to the rows of `clusters`, which must be ascending.

    Each cluster is one product in float64. It is exact, because no sum of a block reaches 2**53,
    and BLAS takes a quarter of the time of np.add.reduceat.
    """
    starts = np.flatnonzero(np.diff(clusters, prepend=-1))
    wide, weights = codes.astype(np.float64), factors.astype(np.float64)
    totals = np.empty((len(starts), codes.shape[1]))
    for row, (start, end) in enumerate(pairwise([*starts.tolist(), len(clusters)])):
        np.dot(weights[start:end], wide[start:end], out=totals[row])
    sums[clusters[starts]] += totals.astype(np.int64)
