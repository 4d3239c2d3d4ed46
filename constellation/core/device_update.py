"""DeviceUpdate: what one device lacks of what other devices learned, as a difference of values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from constellation.core.global_state import GlobalVersion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.global_state import TrendChange
    from constellation.core.index.similar import SimilarPatterns
    from constellation.core.related_content import PopularChoice, RelatedChoice
    from constellation.federated.published import PublishedClusters


class SimilarBasis(NamedTuple):
    """What a device's similar patterns were chosen from: they change only when this does."""

    group_digest: int
    """Changes with every group that is published or freed."""
    group_count: int
    """Changes with every group that is dissolved."""
    index_lsn: int
    """Changes when the index has taken in groups."""
    incarnation: int
    seq: int
    """The device's last delta."""
    capacity: int


@dataclass(frozen=True, slots=True)
class HeldState:
    """What a device holds of what other devices learned."""

    version: GlobalVersion = field(default_factory=GlobalVersion)
    """The version of its trends."""
    similar: frozenset[bytes] = frozenset()
    """The pseudonyms of its similar patterns."""
    clusters: frozenset[bytes] = frozenset()
    """The ids of its clusters."""
    related: bytes = b""
    """The ids of its rows of related content, 16 bytes each. A set takes five times the memory."""
    popular: frozenset[bytes] = frozenset()
    """The ids of its lists of popular content."""
    basis: SimilarBasis | None = field(default=None, compare=False)
    """What `similar` was chosen from; None when the device itself declares what it holds."""


@dataclass(frozen=True, slots=True, eq=False)
class SimilarChoice:
    """The similar patterns that a device should hold."""

    patterns: SimilarPatterns
    """Nearest first. Not read when `basis` is that of what the device holds."""
    basis: SimilarBasis | None = None
    """What they were chosen from; None when it cannot be said."""

    def is_held(self, held: HeldState) -> bool:
        """Return whether a device holds them already, without looking at them."""
        return self.basis is not None and self.basis == held.basis


@dataclass(frozen=True, slots=True, eq=False)
class ClusterChoice:
    """The published clusters that a device should hold."""

    clusters: PublishedClusters
    positions: Sequence[int]
    """Which of `clusters`, best first."""


@dataclass(frozen=True, slots=True, eq=False)
class DeviceUpdate:
    """The changes that bring a device from what it holds to what it should hold."""

    trends: TrendChange
    similar: SimilarPatterns
    """The similar patterns that it lacks, nearest first."""
    removed_similar: frozenset[bytes]
    """The pseudonyms of the similar patterns that it should drop."""
    clusters: ClusterChoice | None
    """The clusters that it lacks; None when the federation has published nothing."""
    removed_clusters: frozenset[bytes]
    """The ids of the clusters that it should drop."""
    related: RelatedChoice
    popular: PopularChoice
    held: HeldState
    """What the device holds after it applied the update."""

    def changes_nothing_of(self, held: HeldState) -> bool:
        """Return whether the update would change nothing of what a device holds."""
        return (
            not len(self.similar.pseudonyms)
            and not self.removed_similar
            and (self.clusters is None or not len(self.clusters.positions))
            and not self.removed_clusters
            and not len(self.related.positions)
            and not self.related.removed
            and not self.popular.missing
            and not self.popular.removed
            and self.trends.version == held.version
        )


def compute_device_update(
    held: HeldState,
    trends: TrendChange,
    chosen: SimilarChoice,
    choice: ClusterChoice | None,
    related: RelatedChoice,
    popular: PopularChoice,
) -> DeviceUpdate:
    """Return what a device that holds `held` lacks of what is chosen for it."""
    similar = chosen.patterns
    new_similar = [
        position
        for position, pseudonym in enumerate(similar.pseudonyms)
        if pseudonym not in held.similar
    ]
    similar_ids = held.similar if chosen.is_held(held) else frozenset(similar.pseudonyms)
    cluster_ids: frozenset[bytes] = frozenset()
    missing: ClusterChoice | None = None
    if choice is not None:
        ids = choice.clusters.ids
        cluster_ids = frozenset(ids[position] for position in choice.positions)
        lacking = [each for each in choice.positions if ids[each] not in held.clusters]
        missing = ClusterChoice(choice.clusters, lacking)
    return DeviceUpdate(
        trends=trends,
        similar=similar.select(new_similar),
        removed_similar=held.similar - similar_ids,
        clusters=missing,
        removed_clusters=held.clusters - cluster_ids,
        related=related,
        popular=popular,
        held=HeldState(
            trends.version, similar_ids, cluster_ids, related.held, popular.held, chosen.basis
        ),
    )
