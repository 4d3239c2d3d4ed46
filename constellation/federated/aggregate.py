"""What one shard sums up for its federation, as values: the same on both sides of the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.federated.fixed_point import ClusterSums, Integers, no_sums

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.encoding import Embeddings

GENRES_PER_CLUSTER: Final = 8
"""Genres that travel with a cluster: those of most devices ..."""
CONTENTS_PER_CLUSTER: Final = 32
"""... and contents."""


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """A numbered codebook. What patterns are assigned to."""

    generation: int
    """The federation's journal that made it."""
    version: int
    """Grows with every change within a generation; 0: there is none."""
    cluster_ids: NDArray[np.uint32]
    """Shape (k,), ascending and distinct."""
    embeddings: Embeddings
    """Shape (k, DIMENSION), unit length."""


@dataclass(frozen=True, slots=True, order=True)
class AggregateVersion:
    """Names a state of one shard's aggregate."""

    shard_id: int
    epoch: int
    version: int


@dataclass(frozen=True, slots=True, eq=False)
class ClusterTerms:
    """Distinct devices for each (row, word), sorted by row; within a row, most devices first."""

    rows: Integers
    """Shape (m,)."""
    terms: Integers
    """Shape (m,): indexes into `texts`."""
    devices: Integers
    """Shape (m,)."""
    texts: Sequence[str]
    """Distinct."""

    def remap_rows(self, new_rows: Integers) -> ClusterTerms:
        """Return the counts of rows at their new places; a row at -1 goes."""
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
    """Shape (n,): the version of the aggregate that last changed each."""
    features: ClusterSums
    genres: ClusterTerms
    contents: ClusterTerms

    def __len__(self) -> int:
        return len(self.cluster_ids)

    def select(self, chosen: Integers) -> ClusterRows:
        """Return some rows, distinct, in this order."""
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
    """Distinct devices for each (subject, hour): absolute, column by column."""

    content_ids: Sequence[str]
    genres: Sequence[str]
    subjects: NDArray[np.uint32]
    """Shape (m,): indexes into content_ids and genres, one after the other."""
    hours: NDArray[np.uint32]
    """Shape (m,): hours since 1970, UTC."""
    devices: NDArray[np.uint32]
    """Shape (m,)."""


@dataclass(frozen=True, slots=True)
class AggregateHeader:
    """What a shard says of itself with its aggregate."""

    region: str
    codebook_generation: int
    """The journal that made the codebook; versions of two journals have nothing in common."""
    codebook_version: int
    codebook_effective_version: int
    """The version at which the codebook took effect: rows with an earlier one are void."""
    devices: int


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
    """All that changed in one shard's aggregate after `base_version`."""

    version: AggregateVersion
    header: AggregateHeader
    base_version: int
    """0: this is everything."""
    clusters: ClusterRows
    hours: SubjectCounts
    candidates: ClusterRows = field(default_factory=no_clusters)
    """Local clusters of patterns that no anchor is near; only when they were asked for."""
