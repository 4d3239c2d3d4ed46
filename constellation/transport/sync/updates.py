"""Updates: what a device lacks of what other devices learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from constellation.core.globals import GlobalVersion
from constellation.transport.codec.globals import from_clusters, from_trends
from constellation.transport.codec.patterns import from_similar_patterns, from_version
from constellation.v1 import patterns_pb2 as pb

if TYPE_CHECKING:
    from constellation.core.shard import ShardManager
    from constellation.encoding import Encoding


@dataclass(frozen=True, slots=True)
class HeldState:
    """What a device holds of what other devices learned."""

    version: GlobalVersion = field(default_factory=GlobalVersion)
    similar: frozenset[bytes] = frozenset()
    clusters: frozenset[bytes] = frozenset()


async def make_update(
    shard: ShardManager, device_id: bytes, held: HeldState, capacity: int, encoding: Encoding
) -> tuple[pb.GlobalUpdate, HeldState]:
    """Return what a device lacks, and what it holds after applying it."""
    device = shard.table.find_device(device_id)
    taste = shard.similar.compute_taste(device)
    found = await shard.similar.search_for_device(device, taste, capacity)
    change = shard.global_state.change_since(held.version)
    new = [
        position
        for position, pseudonym in enumerate(found.pseudonyms)
        if pseudonym not in held.similar
    ]
    now_similar = frozenset(found.pseudonyms)
    update = pb.GlobalUpdate(
        version=from_version(change.version),
        reset=change.is_reset,
        similar=from_similar_patterns(found.select(new), shard.table.vocabulary, encoding),
        similarities=found.similarities[new].tolist(),
        removed_similar_ids=b"".join(held.similar - now_similar),
        trends=from_trends(change.upserts, shard.identity.region),
        removed_trend_content_ids=[content for content, _ in change.removed_subjects if content],
        removed_trend_genres=[genre for _, genre in change.removed_subjects if genre],
        similar_count=len(now_similar),
        trend_count=change.trend_count,
    )
    now_clusters: frozenset[bytes] = frozenset()
    if (published := shard.global_state.published) is not None:
        clusters, positions = (
            published.clusters,
            published.find_nearest_clusters(taste, capacity).tolist(),
        )
        now_clusters = frozenset(clusters.ids[place] for place in positions)
        missing = [place for place in positions if clusters.ids[place] not in held.clusters]
        update.clusters.CopyFrom(from_clusters(clusters, missing, encoding))
    update.removed_cluster_ids = b"".join(held.clusters - now_clusters)
    update.cluster_count = len(now_clusters)
    return update, HeldState(change.version, now_similar, now_clusters)


def is_redundant(update: pb.GlobalUpdate, held: HeldState) -> bool:
    """Say whether a device that holds this would learn nothing from an update."""
    return (
        not update.similar.ids
        and not update.removed_similar_ids
        and not update.clusters.ids
        and not update.removed_cluster_ids
        and update.version.generation == held.version.generation
        and update.version.version == held.version.version
    )
