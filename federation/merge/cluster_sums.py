"""Merge: each shard's newest aggregate, and the integer sums over all of them. Pure.

The state is a map from shard to aggregate, joined by the highest (epoch, version): associative,
commutative and idempotent, as delta-state CRDTs are (Almeida, Shoker, Baquero, arXiv 1603.01529).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.federated.aggregate import (
    AggregateHeader,
    AggregateVersion,
    ClusterRows,
    ClusterTerms,
    no_clusters,
)
from constellation.federated.fixed_point import ClusterSums, Integers, concatenate_sums, no_sums
from federation.merge.hourly_counts import HourlyCells, HourlyWindow
from federation.merge.terms import intern_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federation.merge.terms import TermDictionary

WEIGHT_CAP: Final = 4.0
"""A shard weighs at most so many times the median of all shards ..."""
MIN_SHARDS_TO_CAP: Final = 3
"""... where there are as many."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardAggregate:
    """What one shard has summed up, as far as is known. Never changed: a join makes a new one."""

    version: AggregateVersion
    facts: AggregateHeader
    clusters: ClusterRows
    """By ascending cluster_id; their words are numbers of `Names`."""
    hours: HourlyWindow
    """Genres are numbered after contents: -1 - number of the genre."""
    heard_at: float
    """Seconds since 1970."""
    address: str
    """Where."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardUpdate:
    """What one shard sent in answer to one pull, whole, with words as numbers of `Names`."""

    version: AggregateVersion
    facts: AggregateHeader
    base_version: int
    """It goes on from this version; 0: it is everything."""
    clusters: ClusterRows
    hours: HourlyCells
    candidates: ClusterRows


def renumber_terms(
    update: ShardUpdate,
    theirs: tuple[TermDictionary, TermDictionary],
    ours: tuple[TermDictionary, TermDictionary],
) -> ShardUpdate:
    """Return an answer with words and subjects as numbers of `ours`: contents and genres."""
    contents = ours[0].intern(theirs[0].texts)
    genres = ours[1].intern(theirs[1].texts)
    subjects = np.where(
        update.hours.subjects >= 0,
        np.append(contents, 0)[np.maximum(update.hours.subjects, 0)],
        encode_genres(np.append(genres, 0)[np.maximum(-1 - update.hours.subjects, 0)]),
    )
    return replace(
        update,
        clusters=intern_rows(update.clusters, *ours),
        candidates=intern_rows(update.candidates, *ours),
        hours=replace(update.hours, subjects=subjects),
    )


class AggregateRefusedError(ValueError):
    """An aggregate that cannot be what a shard has summed up."""


def join_update(
    held: ShardAggregate | None, update: ShardUpdate, source: tuple[float, str]
) -> ShardAggregate:
    """Return what is known of a shard after an answer. The order of answers does not matter.

    `heard` is when and where it came. Raises RefusedError for an answer that goes on from what is
    not held.
    """
    same_epoch = held is not None and held.version.epoch == update.version.epoch
    if held is not None and update.version.epoch < held.version.epoch:
        return held
    if update.base_version and not (
        same_epoch and held and held.version.version >= update.base_version
    ):
        raise AggregateRefusedError(
            f"goes on from version {update.base_version}, which is not held"
        )
    before = held if same_epoch else None
    newer = before is None or update.version.version >= before.version.version
    facts = update.facts if newer or before is None else before.facts
    since = max(
        update.facts.codebook_effective_version,
        before.facts.codebook_effective_version if before else 0,
    )
    clusters = _select_newest(
        [before.clusters, update.clusters] if before else [update.clusters], since
    )
    hours = before.hours if before else HourlyWindow()
    return ShardAggregate(
        version=max(update.version, before.version) if before else update.version,
        facts=facts,
        clusters=clusters,
        hours=hours.join(update.hours, update.version.version),
        heard_at=max(source[0], before.heard_at) if before else source[0],
        address=source[1] if newer or before is None else before.address,
    )


def encode_genres(numbers: Integers) -> Integers:
    """Return the subjects of genres, by their numbers; those of contents are the numbers."""
    return -1 - numbers


def select_changes(held: ShardAggregate, base: int) -> tuple[ClusterRows, HourlyCells, int]:
    """Return what changed after a version of the held epoch, and from which it really goes on."""
    cells = held.hours.select_changes(base) if base else None
    if cells is None:
        return held.clusters, held.hours.to_cells(), 0
    return held.clusters.select(np.flatnonzero(held.clusters.versions > base)), cells, base


@dataclass(frozen=True, slots=True, eq=False)
class MergedTerms:
    """Words of clusters, over all shards."""

    counts: ClusterTerms
    shards: Integers
    """Shape (m,): for each count, the shards that it comes from."""


@dataclass(frozen=True, slots=True, eq=False)
class MergedClusters:
    """Sums over shards, a row for each cluster of a codebook."""

    features: ClusterSums
    shards: Integers
    """Shape (k,): shards with a device in the cluster."""
    capped_devices: Integers
    """Shape (k,): devices, of a shard that weighs too much as many less: for the gates."""
    genres: MergedTerms
    contents: MergedTerms


def merge_aggregates(
    aggregates: Sequence[ShardAggregate], cluster_ids: NDArray[np.uint32]
) -> MergedClusters:
    """Return the sums over all shards for some clusters; an id that is not among them is left out.

    A shard that weighs more than CAP times the median is scaled down to that, before it is added.
    """
    total = no_sums(len(cluster_ids))
    shards = np.zeros(len(cluster_ids), np.int64)
    capped_devices = np.zeros(len(cluster_ids), np.int64)
    factors = cap_weights([int(each.clusters.features.weights.sum()) for each in aggregates])
    genres, contents = [], []
    for aggregate, factor in zip(aggregates, factors, strict=True):
        positions = find_positions(aggregate.clusters.cluster_ids, cluster_ids)
        chosen = np.flatnonzero(positions >= 0)
        features = aggregate.clusters.features
        if len(chosen) < len(positions):
            features = features.select(chosen)
        total.add_at(positions[chosen], scale_sums(features, factor))
        shards[positions[chosen]] += features.devices > 0
        capped_devices[positions[chosen]] += np.floor(features.devices * factor).astype(np.int64)
        genres.append(aggregate.clusters.genres.remap_rows(positions))
        contents.append(aggregate.clusters.contents.remap_rows(positions))
    return MergedClusters(
        total, shards, capped_devices, add_term_counts(genres), add_term_counts(contents)
    )


def cap_weights(weights: Sequence[int]) -> list[float]:
    """Return what each shard's sums are multiplied by: 1, or less for one that weighs too much."""
    present = [weight for weight in weights if weight]
    if len(present) < MIN_SHARDS_TO_CAP:
        return [1.0] * len(weights)
    most = WEIGHT_CAP * float(np.median(present))
    return [min(1.0, most / weight) if weight else 1.0 for weight in weights]


def scale_sums(features: ClusterSums, factor: float) -> ClusterSums:
    """Return sums scaled down, in whole numbers again; how many devices there are stays true."""
    if factor == 1:
        return features

    def scale(values: Integers) -> Integers:
        whole: Integers = np.rint(values * factor).astype(np.int64)
        return whole

    return replace(
        features,
        weights=scale(features.weights),
        successes=scale(features.successes),
        sums=scale(features.sums),
        contexts=scale(features.contexts),
    )


def find_positions(ids: NDArray[np.uint32], among: NDArray[np.uint32]) -> Integers:
    """Return the place of each id among ascending ones, -1 where it is not."""
    if not len(among):
        return np.full(len(ids), -1, np.int64)
    positions = np.minimum(np.searchsorted(among, ids), len(among) - 1)
    found: Integers = np.where(among[positions] == ids, positions, -1)
    return found


def add_term_counts(parts: Sequence[ClusterTerms]) -> MergedTerms:
    """Return the devices of all parts, one a shard, for each (row, word); all have the same texts.

    A (row, word) comes once in a part.
    """
    filled = [part for part in parts if len(part.rows)]
    if not filled:
        return MergedTerms(ClusterTerms(*(np.empty(0, np.int64),) * 3, ()), np.empty(0, np.int64))
    texts = filled[0].texts
    keys = np.concatenate([part.rows * len(texts) + part.terms for part in filled])
    distinct, which, shards = np.unique(keys, return_inverse=True, return_counts=True)
    devices = np.zeros(len(distinct), np.int64)
    np.add.at(devices, which, np.concatenate([part.devices for part in filled]))
    rows, terms = np.divmod(distinct, len(texts))
    return MergedTerms(ClusterTerms(rows, terms, devices, texts), shards)


def concatenate_rows(parts: Sequence[ClusterRows]) -> ClusterRows:
    """Return the rows of all parts, one part after the other; all have the same texts."""
    filled = [part for part in parts if len(part)]
    if len(filled) < 2:  # noqa: PLR2004 - nothing to put together
        return filled[0] if filled else no_clusters()
    starts = np.cumsum([0, *(len(part) for part in filled)])
    return ClusterRows(
        np.concatenate([part.cluster_ids for part in filled]),
        np.concatenate([part.versions for part in filled]),
        concatenate_sums([part.features for part in filled]),
        _concatenate_terms([part.genres for part in filled], starts),
        _concatenate_terms([part.contents for part in filled], starts),
    )


def _select_newest(parts: Sequence[ClusterRows], codebook_effective_version: int) -> ClusterRows:
    """Return the newest row of each cluster, without those of an earlier codebook."""
    rows = concatenate_rows(parts)
    if (np.diff(rows.cluster_ids.astype(np.int64)) > 0).all() and (
        rows.versions >= codebook_effective_version
    ).all():
        return rows  # as a first answer is
    order = np.lexsort((rows.versions, rows.cluster_ids))
    ids = rows.cluster_ids[order]
    last = np.ones(len(ids), bool)
    last[:-1] = ids[1:] != ids[:-1]
    chosen = order[last]
    return rows.select(chosen[rows.versions[chosen] >= codebook_effective_version])


def _concatenate_terms(parts: Sequence[ClusterTerms], starts: Integers) -> ClusterTerms:
    texts: Sequence[str] = next((part.texts for part in parts if len(part.rows)), ())
    return ClusterTerms(
        np.concatenate([part.rows + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate([part.terms for part in parts]),
        np.concatenate([part.devices for part in parts]),
        texts,
    )
