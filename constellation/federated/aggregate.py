"""The aggregate of one shard, as values: the sums that it sends to its federation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.federated.fixed_point import ClusterSums, Integers, no_sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.encoding import Embeddings
    from constellation.federated.likes import LikeAggregate

GENRES_PER_CLUSTER: Final = 8
"""A cluster is sent with at most this many genres: those that most devices have."""
CONTENTS_PER_CLUSTER: Final = 32
"""A cluster is sent with at most this many content items: those that most devices watched."""


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """One version of the codebook: the points to which patterns are assigned."""

    generation: int
    """Names the federation's journal that made the codebook."""
    version: int
    """Grows with every change within a generation; 0 means that there is no codebook."""
    cluster_ids: NDArray[np.uint32]
    """Shape (k,), ascending and distinct."""
    embeddings: Embeddings
    """Shape (k, DIMENSION), unit length."""


@dataclass(frozen=True, slots=True, order=True)
class AggregateVersion:
    """Names one state of one shard's aggregate."""

    shard_id: int
    epoch: int
    version: int


@dataclass(frozen=True, slots=True, eq=False)
class ClusterTerms:
    """Distinct devices for each (row, term), sorted by row; within a row, most devices first."""

    rows: Integers
    """Shape (m,): indexes into the rows of the clusters."""
    terms: Integers
    """Shape (m,): indexes into `texts`."""
    devices: Integers
    """Shape (m,): distinct devices."""
    texts: Sequence[str]
    """The terms themselves, distinct."""

    def remap_rows(self, new_rows: Integers) -> ClusterTerms:
        """Return the counts with `new_rows[row]` for each row; -1 drops the row."""
        rows = new_rows[self.rows]
        kept = np.flatnonzero(rows >= 0)
        kept = kept[np.argsort(rows[kept], kind="stable")]
        return ClusterTerms(rows[kept], self.terms[kept], self.devices[kept], self.texts)


@dataclass(frozen=True, slots=True, eq=False)
class ClusterRows:
    """Clusters with their sums, column by column."""

    cluster_ids: NDArray[np.uint32]
    """Shape (n,), distinct."""
    versions: Integers
    """Shape (n,): the version of the aggregate that last changed each row."""
    features: ClusterSums
    genres: ClusterTerms
    contents: ClusterTerms

    def __len__(self) -> int:
        return len(self.cluster_ids)

    def select(self, chosen: Integers) -> ClusterRows:
        """Return the chosen rows, which must be distinct, in this order."""
        new_rows = np.full(len(self), -1, np.int64)
        new_rows[chosen] = np.arange(len(chosen))
        return ClusterRows(
            self.cluster_ids[chosen],
            self.versions[chosen],
            self.features.select(chosen),
            self.genres.remap_rows(new_rows),
            self.contents.remap_rows(new_rows),
        )


@dataclass(frozen=True, slots=True, eq=False)
class SubjectCounts:
    """Distinct devices for each (subject, hour): absolute counts, column by column."""

    content_ids: Sequence[str]
    genres: Sequence[str]
    subjects: NDArray[np.uint32]
    """Shape (m,): indexes into `content_ids` followed by `genres`."""
    hours: NDArray[np.uint32]
    """Shape (m,): hours since 1970, UTC."""
    devices: NDArray[np.uint32]
    """Shape (m,): distinct devices."""


@dataclass(frozen=True, slots=True)
class AggregateHeader:
    """Describes a shard and the codebook of its aggregate."""

    region: str
    codebook_generation: int
    """Names the journal that made the codebook; versions of two journals are not comparable."""
    codebook_version: int
    codebook_effective_version: int
    """The version at which the codebook took effect; rows of an earlier version are void."""
    devices: int
    """Devices that the shard owns."""
    hourly_limit: int = 0
    """The most content items of one device that count in one hour; 0 if the shard does not say."""
    is_complete: bool = False
    """Whether the hourly counts are complete: nothing was left out because few devices share it."""
    k_anonymity: int = 0
    """The K with which the shard shows anything to its devices; 0 if the shard does not say."""


def no_terms() -> ClusterTerms:
    empty = np.empty(0, np.int64)
    return ClusterTerms(empty, empty, empty, ())


def no_clusters() -> ClusterRows:
    empty = np.empty(0, np.int64)
    return ClusterRows(empty.astype(np.uint32), empty, no_sums(0), no_terms(), no_terms())


def no_subjects() -> SubjectCounts:
    empty = np.empty(0, np.uint32)
    return SubjectCounts((), (), empty, empty, empty)


@dataclass(frozen=True, slots=True, eq=False)
class AggregateUpdate:
    """Everything in one shard's aggregate that changed after `base_version`."""

    version: AggregateVersion
    header: AggregateHeader
    base_version: int
    """0 means that the update holds the whole aggregate."""
    clusters: ClusterRows
    hours: SubjectCounts
    candidates: ClusterRows = field(default_factory=no_clusters)
    """Clusters of the patterns far from every anchor; empty unless they were requested."""
    likes: LikeAggregate | None = None
    """What is counted of liked content; None unless it was requested."""
