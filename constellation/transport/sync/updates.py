"""Updates: what a device lacks of what other devices learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from constellation.core.globals import Version
from constellation.transport.codec.globals import from_clusters, from_trends
from constellation.transport.codec.patterns import from_found, from_version
from constellation.v1 import patterns_pb2 as pb

if TYPE_CHECKING:
    from constellation.core.shard import ShardManager
    from constellation.encoding import Encoding


@dataclass(frozen=True, slots=True)
class Held:
    """What a device holds of what other devices learned."""

    version: Version = field(default_factory=Version)
    similar: frozenset[bytes] = frozenset()
    clusters: frozenset[bytes] = frozenset()


async def to_update(
    shard: ShardManager, device_id: bytes, held: Held, capacity: int, encoding: Encoding
) -> tuple[pb.GlobalUpdate, Held]:
    """Return what a device lacks, and what it holds after applying it."""
    device = shard.table.find_device(device_id)
    taste = shard.similar.taste(device)
    found = await shard.similar.near_device(device, taste, capacity)
    change = shard.globals.change_since(held.version)
    new = [
        place for place, pseudonym in enumerate(found.pseudonyms) if pseudonym not in held.similar
    ]
    now_similar = frozenset(found.pseudonyms)
    update = pb.GlobalUpdate(
        version=from_version(change.version),
        reset=change.reset,
        similar=from_found(found.only(new), shard.table.words, encoding),
        similarities=found.similarities[new].tolist(),
        removed_similar_ids=b"".join(held.similar - now_similar),
        trends=from_trends(change.upserts, shard.identity.region),
        removed_trend_content_ids=[content for content, _ in change.removed if content],
        removed_trend_genres=[genre for _, genre in change.removed if genre],
        similar_count=len(now_similar),
        trend_count=change.count,
    )
    now_clusters: frozenset[bytes] = frozenset()
    if (published := shard.globals.published) is not None:
        clusters, places = published.clusters, published.near(taste, capacity).tolist()
        now_clusters = frozenset(clusters.ids[place] for place in places)
        missing = [place for place in places if clusters.ids[place] not in held.clusters]
        update.clusters.CopyFrom(from_clusters(clusters, missing, encoding))
    update.removed_cluster_ids = b"".join(held.clusters - now_clusters)
    update.cluster_count = len(now_clusters)
    return update, Held(change.version, now_similar, now_clusters)


def is_nothing(update: pb.GlobalUpdate, held: Held) -> bool:
    """Say whether a device that holds this would learn nothing from an update."""
    return (
        not update.similar.ids
        and not update.removed_similar_ids
        and not update.clusters.ids
        and not update.removed_cluster_ids
        and update.version.generation == held.version.generation
        and update.version.version == held.version.version
    )
