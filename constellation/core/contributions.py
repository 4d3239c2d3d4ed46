"""What a pattern adds to the sums of its cluster: bounded for each device, and exact integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.core.sums import (
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

    from constellation.core.patterns import PatternRows
    from constellation.encoding import Codes

SAMPLE_CAP: Final = 16
"""Samples that count: what is beyond is a device's own claim."""
_LIFT: Final = SUM_ONE // WEIGHT_ONE
_BLOCK: Final = 4096
"""Rows added together: their products take 12 MiB."""


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What some patterns add (or take away, where the sign is -1), row by row."""

    rows: PatternRows
    clusters: Integers
    """Which row of the sums each goes to."""
    weights: Integers
    """In units of 1 / WEIGHT_ONE."""
    signs: Integers
    """1 or -1."""


def claims(success_rates: NDArray[np.float32], sample_counts: NDArray[np.uint32]) -> Integers:
    """Return success_rate x min(sample_count, SAMPLE_CAP) / SAMPLE_CAP, in 1 / WEIGHT_ONE."""
    evidence = np.minimum(sample_counts, SAMPLE_CAP) * (WEIGHT_ONE / SAMPLE_CAP)
    return np.rint(success_rates.astype(np.float64) * evidence).astype(np.int64)


def bounded(claimed: Integers, owners: Integers, devices: int) -> Integers:
    """Return weights of which no device has more than 1 in all; `owners` are from 0 to `devices`.

    A device's claims are halved until their sum is at most 1, which makes the sum of their squares
    at most 1 as well, however they fall into clusters. Halving, rather than dividing by the sum,
    leaves the weights of a device's other patterns alone at nearly every change.
    """
    totals = np.bincount(owners, claimed.astype(np.float64), minlength=devices)
    mantissas, exponents = np.frexp(totals / WEIGHT_ONE)
    halvings = np.maximum(exponents - (mantissas == 0.5), 0)  # noqa: PLR2004 - a power of two
    weights: Integers = claimed >> halvings[owners]
    return weights


def scaled(codes: Codes, weights: Integers) -> Integers:
    """Return what stored codes are multiplied by, so that weight x embedding is whole numbers.

    Shape (n,). The norm is summed in integers, and each step is rounded as IEEE 754 says, so every
    machine gets the same bits.
    """
    wide = codes.astype(np.int32)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide).astype(np.float64))
    factors: Integers = np.rint(weights * _LIFT / np.maximum(norms, 1)).astype(np.int64)
    return factors


def add(features: ClusterSums, terms: Terms) -> None:
    """Add terms to sums, in place; `devices` are the caller's business."""
    rows, clusters = terms.rows, terms.clusters
    signed = terms.weights * terms.signs
    successes = np.rint(terms.weights * rows["success_rate"].astype(np.float64)).astype(np.int64)
    np.add.at(features.weights, clusters, signed)
    np.add.at(features.successes, clusters, successes * terms.signs)
    day_types = rows["day_type"].astype(np.int64) + TIMES_OF_DAY
    content_types = rows["content_type"].astype(np.int64) + TIMES_OF_DAY + DAY_TYPES
    for columns in (rows["time_of_day"].astype(np.int64), day_types, content_types):
        np.add.at(features.contexts, (clusters, columns), signed)
    factors = scaled(rows["codes"], terms.weights) * terms.signs
    order = np.argsort(clusters, kind="stable")
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        _add_sums(features.sums, clusters[block], rows["codes"][block], factors[block])


def summed(terms: Terms, count: int) -> ClusterSums:
    """Return the sums of `count` clusters, without their devices."""
    features = no_sums(count)
    add(features, terms)
    return features


def _add_sums(sums: Integers, clusters: Integers, codes: Codes, factors: Integers) -> None:
    """Add factor x codes to the rows of ascending clusters."""
    starts = np.flatnonzero(np.diff(clusters, prepend=-1))
    products = codes.astype(np.int64)
    products *= factors[:, None]
    sums[clusters[starts]] += np.add.reduceat(products, starts, axis=0)
