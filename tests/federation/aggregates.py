"""Aggregates for tests, made of patterns as a shard makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.aggregate import (
    AggregateHeader,
    AggregateUpdate,
    AggregateVersion,
    ClusterRows,
    ClusterTerms,
    SubjectCounts,
)
from constellation.federated.fixed_point import (
    CONTEXTS,
    SUM_ONE,
    WEIGHT_ONE,
    ClusterSums,
    no_sums,
)
from federation.merge.candidates import Candidates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


def embedding(direction: int) -> NDArray[np.float64]:
    vector = np.random.default_rng(direction).standard_normal(384)
    unit: NDArray[np.float64] = vector / np.linalg.norm(vector)
    return unit


def make_cluster_sums(
    directions: Sequence[int], devices: Sequence[int], success: float = 0.9
) -> ClusterSums:
    """Return one row for each direction: that many devices of weight 1 with the same taste."""
    counts = np.array(devices, np.int64)
    weights = counts * WEIGHT_ONE
    vectors = np.stack([embedding(direction) for direction in directions])
    contexts = np.zeros((len(counts), CONTEXTS), np.int64)
    contexts[:, [3, 6, 9]] = weights[:, None]
    return ClusterSums(
        counts,
        weights,
        np.rint(weights * success).astype(np.int64),
        np.rint(vectors * SUM_ONE).astype(np.int64) * counts[:, None],
        contexts,
    )


def make_term_counts(rows: Sequence[Mapping[str, int]]) -> ClusterTerms:
    """Return devices by row and text."""
    texts = sorted({text for row in rows for text in row})
    flat = [
        (number, texts.index(text), count)
        for number, row in enumerate(rows)
        for text, count in sorted(row.items(), key=lambda each: -each[1])
    ]
    columns = np.array(flat, np.int64).reshape(-1, 3).T
    return ClusterTerms(columns[0], columns[1], columns[2], texts)


def make_cluster_rows(
    ids: Sequence[int],
    devices: Sequence[int],
    contents: Sequence[Mapping[str, int]] | None = None,
    *,
    version: int = 1,
    directions: Sequence[int] | None = None,
) -> ClusterRows:
    """Return clusters whose direction is their id, unless `directions` says otherwise."""
    return ClusterRows(
        np.array(ids, np.uint32),
        np.full(len(ids), version, np.int64),
        make_cluster_sums(directions or ids, devices),
        make_term_counts([{"Drama": count} for count in devices]),
        make_term_counts(contents or [{} for _ in ids]),
    )


def make_subject_counts(counts: Mapping[tuple[str, int], int]) -> SubjectCounts:
    """Return hourly counts of contents."""
    texts = sorted({text for text, _ in counts})
    return SubjectCounts(
        texts,
        [],
        np.array([texts.index(text) for text, _ in counts], np.uint32),
        np.array([hour for _, hour in counts], np.uint32),
        np.array(list(counts.values()), np.uint32),
    )


def make_update(  # noqa: PLR0913 - an aggregate has this many parts
    shard_id: int,
    rows: ClusterRows,
    counts: Mapping[tuple[str, int], int] | None = None,
    *,
    epoch: int = 1,
    version: int = 1,
    base_version: int = 0,
    region: str = "north",
    devices: int = 10_000,
    codebook_version: int = 1,
    codebook_effective_version: int = 0,
) -> AggregateUpdate:
    return AggregateUpdate(
        AggregateVersion(shard_id, epoch, version),
        AggregateHeader(region, 1, codebook_version, codebook_effective_version, devices),
        base_version,
        rows,
        make_subject_counts(counts or {}),
    )


def make_candidates(rows: list[tuple[int, int, int]]) -> Candidates:
    """Return candidates of (shard, direction, devices)."""
    if not rows:
        return Candidates(np.empty(0, np.int64), no_sums(0))
    return Candidates(
        np.array([shard for shard, _, _ in rows], np.int64),
        make_cluster_sums([direction for _, direction, _ in rows], [count for *_, count in rows]),
    )


def shuffle_candidates(rows: Candidates, seed: int = 0) -> Candidates:
    """Return the same candidates in another order."""
    order: NDArray[np.int64] = np.random.default_rng(seed).permutation(len(rows.shard_ids))
    return Candidates(rows.shard_ids[order], rows.features.select(order))
