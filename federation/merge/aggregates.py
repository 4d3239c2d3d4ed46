"""Each shard's newest aggregate, and the integer sums over all shards. Pure functions.

The state of a federation maps each shard to its newest aggregate. Updates are joined by the highest
(epoch, version), which is associative, commutative and idempotent like the join of delta-state
CRDTs (Almeida, Shoker and Baquero, arXiv 1603.01529).
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
    no_terms,
)
from constellation.federated.fixed_point import ClusterSums, Integers, concatenate_sums, no_sums
from federation.merge.hourly_counts import HourlyCells, HourlyWindow
from federation.merge.terms import decode_genres, encode_genres
from federation.related.shard_likes import LikesRefusedError, ShardLikes, join_likes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from federation.merge.terms import Terms

WEIGHT_CAP: Final = 4.0
"""A shard weighs at most this many times the median weight of all shards."""
MIN_SHARDS_TO_CAP: Final = 3
"""With fewer shards no weight is capped: one or two weights are never above 4 times their mean."""

_TERM_BLOCK_ROWS: Final = 64
"""Rows of clusters whose terms are added together: few enough that their counts fit a cache."""
_DEVICE_BITS: Final = 27
"""Bits of a number of devices, which is at most MAX_DEVICES."""


@dataclass(frozen=True, slots=True)
class Source:
    """When an update was received, and from where."""

    received_at: float
    """Seconds since 1970."""
    address: str
    """The host:port of the shard, or of the relay that passed the update on."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardAggregate:
    """The newest known aggregate of one shard. Immutable: a join returns a new one."""

    version: AggregateVersion
    header: AggregateHeader
    clusters: ClusterRows
    """Ordered by cluster_id; terms are numbered by the federation's `Terms`."""
    hours: HourlyWindow
    """Subjects are numbered by the federation's `Terms`; genres as `encode_genres` encodes them."""
    received_at: float
    """When the newest update was received: seconds since 1970."""
    address: str
    """Where the update with the newest version came from."""
    likes: ShardLikes | None = None
    """What is counted of liked content, as of the last pull that asked for it; content items are
    numbered by the federation's `Terms`."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardUpdate:
    """Everything that one shard sent in answer to one pull, with terms as numbers of a `Terms`."""

    version: AggregateVersion
    header: AggregateHeader
    base_version: int
    """The version that this update builds on; 0 if it holds the whole aggregate."""
    clusters: ClusterRows
    hours: HourlyCells
    candidates: ClusterRows
    likes: ShardLikes | None = None
    """None if the pull did not ask for likes and pairs."""


class AggregateRefusedError(ValueError):
    """An update that contradicts what is known of its shard."""


def renumber_terms(update: ShardUpdate, theirs: Terms, ours: Terms) -> ShardUpdate:
    """Return an update numbered by `theirs` with its terms and subjects numbered by `ours`."""
    contents = ours.contents.intern(theirs.contents.texts)
    genres = ours.genres.intern(theirs.genres.texts)
    old = update.hours.subjects
    # np.where evaluates both branches for every subject: the appended 0 keeps indexes in range.
    subjects = np.where(
        old >= 0,
        np.append(contents, 0)[np.maximum(old, 0)],
        encode_genres(np.append(genres, 0)[np.maximum(decode_genres(old), 0)]),
    )
    return replace(
        update,
        clusters=ours.intern_rows(update.clusters),
        candidates=ours.intern_rows(update.candidates),
        hours=replace(update.hours, subjects=subjects),
        likes=(
            None
            if update.likes is None
            else replace(update.likes, contents=contents[update.likes.contents])
        ),
    )


def join_update(
    known: ShardAggregate | None, update: ShardUpdate, source: Source
) -> ShardAggregate:
    """Return what is known of a shard after an update. The order of updates does not matter.

    Raises AggregateRefusedError if the update builds on a version that is not known.
    """
    if known is not None and update.version.epoch < known.version.epoch:
        return known
    before = known
    if known is not None and known.version.epoch != update.version.epoch:
        before = None  # the shard restarted: a new epoch replaces everything
    if update.base_version and (before is None or before.version.version < update.base_version):
        raise AggregateRefusedError(
            f"builds on version {update.base_version}, which is not known here"
        )
    if before is None:
        before = _start_aggregate(update, source)
    is_newest = update.version >= before.version
    codebook_effective_version = max(
        update.header.codebook_effective_version, before.header.codebook_effective_version
    )
    return ShardAggregate(
        version=max(update.version, before.version),
        header=update.header if is_newest else before.header,
        clusters=_select_newest([before.clusters, update.clusters], codebook_effective_version),
        hours=before.hours.join(update.hours, update.version.version),
        received_at=max(source.received_at, before.received_at),
        address=source.address if is_newest else before.address,
        likes=join_update_likes(known, update),
    )


def join_update_likes(known: ShardAggregate | None, update: ShardUpdate) -> ShardLikes | None:
    """Return what is known of a shard's likes after an update.

    Likes outlive the epoch in which they were counted: if a shard restarts and is then unavailable,
    its last likes count. Raises AggregateRefusedError as `join_update` does.
    """
    try:
        return join_likes(known.likes if known else None, update.likes, update.base_version)
    except LikesRefusedError as error:
        raise AggregateRefusedError(str(error)) from None


def _start_aggregate(update: ShardUpdate, source: Source) -> ShardAggregate:
    """Return an aggregate without rows or counts, which the first update of an epoch joins."""
    return ShardAggregate(
        update.version,
        update.header,
        no_clusters(),
        HourlyWindow(),
        source.received_at,
        source.address,
    )


def select_changes(known: ShardAggregate, base: int) -> tuple[ClusterRows, HourlyCells, int]:
    """Return what changed after version `base`, and the version that this really builds on.

    The latter is 0 when the changes since `base` are no longer known: then everything is returned.
    """
    cells = known.hours.select_changes(base) if base else None
    if cells is None:
        return known.clusters, known.hours.to_cells(), 0
    return known.clusters.select(np.flatnonzero(known.clusters.versions > base)), cells, base


@dataclass(frozen=True, slots=True, eq=False)
class MergedTerms:
    """The device counts of terms in clusters, over all shards."""

    counts: ClusterTerms
    shards: Integers
    """Shape (m,): for each count, the number of shards that contributed to it."""


@dataclass(frozen=True, slots=True, eq=False)
class MergedClusters:
    """Sums over all shards, with one row for each cluster of a codebook."""

    features: ClusterSums
    shards: Integers
    """Shape (k,): shards with at least one device in the cluster."""
    capped_devices: Integers
    """Shape (k,): devices, scaled down for shards whose weight is capped. Publishing is decided by
    this number, so that one shard cannot lift a cluster over the minimum."""
    genres: MergedTerms
    contents: MergedTerms


def merge_aggregates(
    aggregates: Sequence[ShardAggregate], cluster_ids: NDArray[np.uint32]
) -> MergedClusters:
    """Return the sums over all shards for the given clusters; rows of other clusters are ignored.

    `cluster_ids` is ascending. A shard that weighs more than WEIGHT_CAP times the median is scaled
    down to that weight before it is added.
    """
    total = no_sums(len(cluster_ids))
    shards = np.zeros(len(cluster_ids), np.int64)
    capped_devices = np.zeros(len(cluster_ids), np.int64)
    factors = cap_weights([int(each.clusters.features.weights.sum()) for each in aggregates])
    genres, contents = [], []
    for aggregate, factor in zip(aggregates, factors, strict=True):
        aligned = _align_rows(aggregate.clusters, cluster_ids)
        features, positions = aligned.features, aligned.positions
        total.add_at(positions, scale_sums(features, factor))
        shards[positions] += features.devices > 0
        capped_devices[positions] += _cap_devices(features.devices, factor)
        genres.append(aligned.genres)
        contents.append(aligned.contents)
    return MergedClusters(
        total, shards, capped_devices, add_term_counts(genres), add_term_counts(contents)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _AlignedRows:
    """The rows of a shard that belong to some clusters, and where these are."""

    positions: Integers | slice
    """For each row of `features`, the position of its cluster; a slice for all, in order."""
    features: ClusterSums
    genres: ClusterTerms
    """The rows of both terms are positions of clusters."""
    contents: ClusterTerms


def _align_rows(rows: ClusterRows, cluster_ids: NDArray[np.uint32]) -> _AlignedRows:
    if np.array_equal(rows.cluster_ids, cluster_ids):  # the usual case: nothing to gather
        return _AlignedRows(slice(None), rows.features, rows.genres, rows.contents)
    positions = find_positions(rows.cluster_ids, cluster_ids)
    chosen = np.flatnonzero(positions >= 0)
    return _AlignedRows(
        positions[chosen],
        rows.features.select(chosen),
        rows.genres.remap_rows(positions),
        rows.contents.remap_rows(positions),
    )


def _cap_devices(devices: Integers, factor: float) -> Integers:
    return devices if factor == 1 else np.floor(devices * factor).astype(np.int64)


def cap_weights(weights: Sequence[int]) -> list[float]:
    """Return the factor for each shard's sums: 1, or less for a shard that weighs too much."""
    present = [weight for weight in weights if weight]
    if len(present) < MIN_SHARDS_TO_CAP:
        return [1.0] * len(weights)
    heaviest = WEIGHT_CAP * float(np.median(present))
    return [min(1.0, heaviest / weight) if weight else 1.0 for weight in weights]


def scale_sums(features: ClusterSums, factor: float) -> ClusterSums:
    """Return the sums times `factor`, rounded to integers; the number of devices is unchanged."""
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
    """Return the position of each id in `among`, which is ascending; -1 for an id not in it."""
    if not len(among):
        return np.full(len(ids), -1, np.int64)
    positions = np.minimum(np.searchsorted(among, ids), len(among) - 1)
    found: Integers = np.where(among[positions] == ids, positions, -1)
    return found


def add_term_counts(parts: Sequence[ClusterTerms]) -> MergedTerms:
    """Return the devices of all parts for each (row, term). There is one part for each shard.

    All parts have the same texts, are ordered by row, and hold each (row, term) at most once.
    """
    filled = [part for part in parts if len(part.rows)]
    if not filled:
        return MergedTerms(no_terms(), np.empty(0, np.int64))
    row_count = max(int(part.rows[-1]) for part in filled) + 1
    texts = filled[0].texts
    width = len(texts)  # read once: a sweep may add texts meanwhile
    blocks = [
        _add_term_block(filled, start, width) for start in range(0, row_count, _TERM_BLOCK_ROWS)
    ]
    keys, devices, shards = (np.concatenate(column) for column in zip(*blocks, strict=True))
    rows, terms = np.divmod(keys, width)
    return MergedTerms(ClusterTerms(rows, terms, devices, texts), shards)


def _add_term_block(
    parts: Sequence[ClusterTerms], first_row: int, width: int
) -> tuple[Integers, Integers, Integers]:
    """Return the distinct row x width + term of a block, ascending, their devices and shards.

    A key and its devices are sorted as one integer, which is several times as fast as sorting
    positions. It fits: 6 bits of rows, 2**30 texts and MAX_DEVICES.
    """
    packed = []
    for part in parts:
        chosen = slice(*np.searchsorted(part.rows, [first_row, first_row + _TERM_BLOCK_ROWS]))
        keys = (part.rows[chosen] - first_row) * width + part.terms[chosen]
        packed.append(keys << _DEVICE_BITS | part.devices[chosen])
    ordered = np.concatenate(packed)
    ordered.sort()
    keys = ordered >> _DEVICE_BITS
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    if not len(starts):
        return keys, keys, keys
    devices = np.add.reduceat(ordered & (2**_DEVICE_BITS - 1), starts)
    shards = np.diff(starts, append=len(keys))
    return keys[starts] + first_row * width, devices, shards


def concatenate_rows(parts: Sequence[ClusterRows]) -> ClusterRows:
    """Return the rows of all parts, one part after the other. All parts have the same texts."""
    filled = [part for part in parts if len(part)]
    if len(filled) < 2:  # noqa: PLR2004 - nothing to concatenate
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
    """Return the newest row of each cluster, without rows of an earlier codebook."""
    rows = concatenate_rows(parts)
    if (np.diff(rows.cluster_ids.astype(np.int64)) > 0).all() and (
        rows.versions >= codebook_effective_version
    ).all():
        return rows  # nothing to drop or reorder, as in the first update of a shard
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
