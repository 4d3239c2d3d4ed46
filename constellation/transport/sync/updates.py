"""Updates for devices: the change from what a device holds to what it should hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.encoding import ID_BYTES
from constellation.transport.codec.global_state import from_clusters, from_trends
from constellation.transport.codec.patterns import from_similar_patterns, from_version
from constellation.transport.codec.related import from_popular, from_related
from constellation.v1 import patterns_pb2 as pb

if TYPE_CHECKING:
    from constellation.core.device_update import HeldState
    from constellation.core.shard import ShardManager
    from constellation.encoding import Encoding


async def make_update(
    shard: ShardManager, device_id: bytes, held: HeldState, capacity: int, encoding: Encoding
) -> tuple[pb.GlobalUpdate, HeldState]:
    """Return what a device lacks, and what it holds after applying it."""
    change = await shard.find_update(device_id, held, capacity)
    trends = change.trends
    update = pb.GlobalUpdate(
        version=from_version(trends.version),
        reset=trends.is_reset,
        similar=from_similar_patterns(change.similar, shard.table.vocabulary, encoding),
        similarities=change.similar.similarities.tolist(),
        removed_similar_ids=b"".join(change.removed_similar),
        trends=from_trends(trends.upserts, shard.identity.region),
        removed_trend_content_ids=[content for content, _ in trends.removed_subjects if content],
        removed_trend_genres=[genre for _, genre in trends.removed_subjects if genre],
        similar_count=len(change.held.similar),
        trend_count=trends.trend_count,
        removed_cluster_ids=b"".join(change.removed_clusters),
        cluster_count=len(change.held.clusters),
        removed_related_ids=change.related.removed,
        related_count=len(change.held.related) // ID_BYTES,
        popular=from_popular(change.popular.missing),
        removed_popular_ids=b"".join(change.popular.removed),
    )
    if len(change.related.positions):
        update.related.CopyFrom(from_related(change.related.related, change.related.positions))
    if (missing := change.clusters) is not None:
        update.clusters.CopyFrom(from_clusters(missing.clusters, missing.positions, encoding))
    return update, change.held


def is_redundant(update: pb.GlobalUpdate, held: HeldState) -> bool:
    """Return whether an update would change nothing of what a device holds."""
    return (
        not update.similar.ids
        and not update.removed_similar_ids
        and not update.clusters.ids
        and not update.removed_cluster_ids
        and not update.related.ids
        and not update.removed_related_ids
        and not update.popular
        and not update.removed_popular_ids
        and update.version.generation == held.version.generation
        and update.version.version == held.version.version
    )
