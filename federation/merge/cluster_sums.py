"""Merge: each shard's newest aggregate, and the integer sums over all of them. Pure.

The state is a map from shard to aggregate, joined by the highest (epoch, version): associative,
commutative and idempotent, as delta-state CRDTs are (Almeida, Shoker, Baquero, arXiv 1603.01529).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.federated.aggregate import (
    AggregateVersion,
    ClusterRows,
    ShardFacts,
    WordCounts,
    no_clusters,
)
from constellation.federated.fixed_point import ClusterSums, Integers, joined, no_sums
from federation.merge.hourly_counts import Cells, Hours
from federation.merge.terms import interned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federation.merge.terms import Names

CAP: Final = 4.0
"""A shard weighs at most so many times the median of all shards ..."""
CAPPED_FROM: Final = 3
"""... where there are as many."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardAggregate:
    """What one shard has summed up, as far as is known. Never changed: a join makes a new one."""

    of: AggregateVersion
    facts: ShardFacts
    clusters: ClusterRows
    """By ascending cluster_id; their words are numbers of `Names`."""
    hours: Hours
    """Genres are numbered after contents: -1 - number of the genre."""
    heard_at: float
    """Seconds since 1970."""
    address: str
    """Where."""


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """What one shard sent in answer to one pull, whole, with words as numbers of `Names`."""

    of: AggregateVersion
    facts: ShardFacts
    base_version: int
    """It goes on from this version; 0: it is everything."""
    clusters: ClusterRows
    hours: Cells
    candidates: ClusterRows


def renumbered(sent: Sent, theirs: tuple[Names, Names], ours: tuple[Names, Names]) -> Sent:
    """Return an answer with words and subjects as numbers of `ours`: contents and genres."""
    contents = ours[0].numbers(theirs[0].texts)
    genres = ours[1].numbers(theirs[1].texts)
    subjects = np.where(
        sent.hours.subjects >= 0,
        np.append(contents, 0)[np.maximum(sent.hours.subjects, 0)],
        subject_of_genre(np.append(genres, 0)[np.maximum(-1 - sent.hours.subjects, 0)]),
    )
    return replace(
        sent,
        clusters=interned(sent.clusters, *ours),
        candidates=interned(sent.candidates, *ours),
        hours=replace(sent.hours, subjects=subjects),
    )


class RefusedError(ValueError):
    """An aggregate that cannot be what a shard has summed up."""


def join(held: ShardAggregate | None, sent: Sent, heard: tuple[float, str]) -> ShardAggregate:
    """Return what is known of a shard after an answer. The order of answers does not matter.

    `heard` is when and where it came. Raises RefusedError for an answer that goes on from what is
    not held.
    """
    same_epoch = held is not None and held.of.epoch == sent.of.epoch
    if held is not None and sent.of.epoch < held.of.epoch:
        return held
    if sent.base_version and not (same_epoch and held and held.of.version >= sent.base_version):
        raise RefusedError(f"goes on from version {sent.base_version}, which is not held")
    before = held if same_epoch else None
    newer = before is None or sent.of.version >= before.of.version
    facts = sent.facts if newer or before is None else before.facts
    since = max(sent.facts.codebook_since, before.facts.codebook_since if before else 0)
    clusters = _newest([before.clusters, sent.clusters] if before else [sent.clusters], since)
    hours = before.hours if before else Hours()
    return ShardAggregate(
        of=max(sent.of, before.of) if before else sent.of,
        facts=facts,
        clusters=clusters,
        hours=hours.joined(sent.hours, sent.of.version),
        heard_at=max(heard[0], before.heard_at) if before else heard[0],
        address=heard[1] if newer or before is None else before.address,
    )


def subject_of_genre(numbers: Integers) -> Integers:
    """Return the subjects of genres, by their numbers; those of contents are the numbers."""
    return -1 - numbers


def since(held: ShardAggregate, base: int) -> tuple[ClusterRows, Cells, int]:
    """Return what changed after a version of the held epoch, and from which it really goes on."""
    cells = held.hours.changed_since(base) if base else None
    if cells is None:
        return held.clusters, held.hours.cells(), 0
    return held.clusters.rows(np.flatnonzero(held.clusters.versions > base)), cells, base


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """Words of clusters, over all shards."""

    counts: WordCounts
    shards: Integers
    """Shape (m,): for each count, the shards that it comes from."""


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """Sums over shards, a row for each cluster of a codebook."""

    features: ClusterSums
    shards: Integers
    """Shape (k,): shards with a device in the cluster."""
    vouched: Integers
    """Shape (k,): devices, of a shard that weighs too much as many less: for the gates."""
    genres: Shared
    contents: Shared


def merge(aggregates: Sequence[ShardAggregate], cluster_ids: NDArray[np.uint32]) -> Merged:
    """Return the sums over all shards for some clusters; an id that is not among them is left out.

    A shard that weighs more than CAP times the median is scaled down to that, before it is added.
    """
    total = no_sums(len(cluster_ids))
    shards = np.zeros(len(cluster_ids), np.int64)
    vouched = np.zeros(len(cluster_ids), np.int64)
    factors = capped([int(each.clusters.features.weights.sum()) for each in aggregates])
    genres, contents = [], []
    for aggregate, factor in zip(aggregates, factors, strict=True):
        place = places(aggregate.clusters.cluster_ids, cluster_ids)
        chosen = np.flatnonzero(place >= 0)
        features = aggregate.clusters.features
        if len(chosen) < len(place):
            features = features.rows(chosen)
        total.add_at(place[chosen], scaled(features, factor))
        shards[place[chosen]] += features.devices > 0
        vouched[place[chosen]] += np.floor(features.devices * factor).astype(np.int64)
        genres.append(aggregate.clusters.genres.moved(place))
        contents.append(aggregate.clusters.contents.moved(place))
    return Merged(total, shards, vouched, added(genres), added(contents))


def capped(weights: Sequence[int]) -> list[float]:
    """Return what each shard's sums are multiplied by: 1, or less for one that weighs too much."""
    present = [weight for weight in weights if weight]
    if len(present) < CAPPED_FROM:
        return [1.0] * len(weights)
    most = CAP * float(np.median(present))
    return [min(1.0, most / weight) if weight else 1.0 for weight in weights]


def scaled(features: ClusterSums, factor: float) -> ClusterSums:
    """Return sums scaled down, in whole numbers again; how many devices there are stays true."""
    if factor == 1:
        return features

    def part(values: Integers) -> Integers:
        whole: Integers = np.rint(values * factor).astype(np.int64)
        return whole

    return replace(
        features,
        weights=part(features.weights),
        successes=part(features.successes),
        sums=part(features.sums),
        contexts=part(features.contexts),
    )


def places(ids: NDArray[np.uint32], among: NDArray[np.uint32]) -> Integers:
    """Return the place of each id among ascending ones, -1 where it is not."""
    if not len(among):
        return np.full(len(ids), -1, np.int64)
    place = np.minimum(np.searchsorted(among, ids), len(among) - 1)
    found: Integers = np.where(among[place] == ids, place, -1)
    return found


def added(parts: Sequence[WordCounts]) -> Shared:
    """Return the devices of all parts, one a shard, for each (row, word); all have the same texts.

    A (row, word) comes once in a part.
    """
    filled = [part for part in parts if len(part.rows)]
    if not filled:
        return Shared(WordCounts(*(np.empty(0, np.int64),) * 3, ()), np.empty(0, np.int64))
    texts = filled[0].texts
    keys = np.concatenate([part.rows * len(texts) + part.words for part in filled])
    distinct, which, shards = np.unique(keys, return_inverse=True, return_counts=True)
    devices = np.zeros(len(distinct), np.int64)
    np.add.at(devices, which, np.concatenate([part.devices for part in filled]))
    rows, words = np.divmod(distinct, len(texts))
    return Shared(WordCounts(rows, words, devices, texts), shards)


def concatenated(parts: Sequence[ClusterRows]) -> ClusterRows:
    """Return the rows of all parts, one part after the other; all have the same texts."""
    filled = [part for part in parts if len(part)]
    if len(filled) < 2:  # noqa: PLR2004 - nothing to put together
        return filled[0] if filled else no_clusters()
    starts = np.cumsum([0, *(len(part) for part in filled)])
    return ClusterRows(
        np.concatenate([part.cluster_ids for part in filled]),
        np.concatenate([part.versions for part in filled]),
        joined([part.features for part in filled]),
        _shifted([part.genres for part in filled], starts),
        _shifted([part.contents for part in filled], starts),
    )


def _newest(parts: Sequence[ClusterRows], codebook_since: int) -> ClusterRows:
    """Return the newest row of each cluster, without those of an earlier codebook."""
    rows = concatenated(parts)
    if (np.diff(rows.cluster_ids.astype(np.int64)) > 0).all() and (
        rows.versions >= codebook_since
    ).all():
        return rows  # as a first answer is
    order = np.lexsort((rows.versions, rows.cluster_ids))
    ids = rows.cluster_ids[order]
    last = np.ones(len(ids), bool)
    last[:-1] = ids[1:] != ids[:-1]
    chosen = order[last]
    return rows.rows(chosen[rows.versions[chosen] >= codebook_since])


def _shifted(parts: Sequence[WordCounts], starts: Integers) -> WordCounts:
    texts: Sequence[str] = next((part.texts for part in parts if len(part.rows)), ())
    return WordCounts(
        np.concatenate([part.rows + start for part, start in zip(parts, starts, strict=False)]),
        np.concatenate([part.words for part in parts]),
        np.concatenate([part.devices for part in parts]),
        texts,
    )
