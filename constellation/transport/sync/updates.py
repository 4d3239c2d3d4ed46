"""Updates for devices: the change from what a device holds to what it should hold, as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.encoding import ID_BYTES
from constellation.transport.codec.encoded_patterns import EncodedPatterns
from constellation.transport.codec.global_state import from_trends
from constellation.transport.codec.patterns import from_version
from constellation.transport.codec.related import from_popular, from_related
from constellation.transport.codec.wire import (
    frame,
    frame_message,
    frame_number,
    make_number_tag,
    make_tag,
)
from constellation.v1 import patterns_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.device_update import DeviceUpdate, HeldState
    from constellation.core.global_state import GlobalVersion, TrendChange
    from constellation.core.shard import ShardManager
    from constellation.encoding import Encoding
    from constellation.federated.published_related import PopularList

_SIMILAR: Final = make_tag(4)
_SIMILARITIES: Final = make_tag(5)
_REMOVED_SIMILAR_IDS: Final = make_tag(6)
_SIMILAR_COUNT: Final = make_number_tag(10)
_CLUSTERS: Final = make_tag(12)
_REMOVED_CLUSTER_IDS: Final = make_tag(13)
_CLUSTER_COUNT: Final = make_number_tag(14)
_RELATED: Final = make_tag(15)
_REMOVED_RELATED_IDS: Final = make_tag(16)
_RELATED_COUNT: Final = make_number_tag(17)
_REMOVED_POPULAR_IDS: Final = make_tag(19)
PATTERNS_BUDGET_BYTES: Final = 64 << 20
"""Memory for patterns that are encoded: those of some 40,000 shared patterns and clusters."""


@dataclass(frozen=True, slots=True, eq=False)
class DeviceAnswer:
    """An update, ready to be sent to one device."""

    body: bytes
    """A GlobalUpdate without its nonce."""
    held: HeldState
    """What the device holds after it applied the update."""
    is_redundant: bool
    """Whether the update would change nothing."""


class UpdateEncoder:
    """Encodes what devices lack. What several of them get is encoded once."""

    def __init__(self, shard: ShardManager) -> None:
        self._shard = shard
        self._patterns = EncodedPatterns(shard.table.vocabulary, PATTERNS_BUDGET_BYTES)
        self._trends: dict[GlobalVersion | None, bytes] = {}
        """By the version from which the change is: the change to `_version`."""
        self._popular: dict[tuple[PopularList, ...], bytes] = {}
        """By the lists of the change to `_version`."""
        self._version: GlobalVersion | None = None

    async def make_update(
        self, device_id: bytes, held: HeldState, capacity: int, encoding: Encoding
    ) -> DeviceAnswer:
        """Return what a device lacks that holds `held` and can keep `capacity` patterns."""
        change = await self._shard.find_update(device_id, held, capacity)
        return DeviceAnswer(
            self._encode(change, encoding), change.held, change.changes_nothing_of(held)
        )

    def _encode(self, change: DeviceUpdate, encoding: Encoding) -> bytes:
        similar, digest = change.similar, self._shard.catalogue.digest
        parts = [
            self._encode_trends(change.trends),
            frame_message(_SIMILAR, self._patterns.encode_similar(similar, encoding, digest)),
            frame(_SIMILARITIES, similar.similarities.astype("<f4").tobytes()),
            frame(_REMOVED_SIMILAR_IDS, b"".join(change.removed_similar)),
            frame_number(_SIMILAR_COUNT, len(change.held.similar)),
            frame(_REMOVED_CLUSTER_IDS, b"".join(change.removed_clusters)),
            frame_number(_CLUSTER_COUNT, len(change.held.clusters)),
            frame(_REMOVED_RELATED_IDS, change.related.removed),
            frame_number(_RELATED_COUNT, len(change.held.related) // ID_BYTES),
            self._encode_popular(change.popular.missing),
            frame(_REMOVED_POPULAR_IDS, b"".join(change.popular.removed)),
        ]
        if (missing := change.clusters) is not None:
            columns = self._patterns.encode_clusters(missing.clusters, missing.positions, encoding)
            parts.append(frame_message(_CLUSTERS, columns))
        if len(change.related.positions):
            rows = from_related(change.related.related, change.related.positions)
            parts.append(frame_message(_RELATED, rows.SerializeToString()))
        return b"".join(parts)

    def _encode_trends(self, trends: TrendChange) -> bytes:
        """Return the fields that depend on nothing but the device's version and the present one."""
        if trends.version != self._version:
            self._trends.clear()
            self._popular.clear()
            self._version = trends.version
        encoded = self._trends.get(trends.base)
        if encoded is None:
            encoded = self._trends[trends.base] = pb.GlobalUpdate(
                version=from_version(trends.version),
                reset=trends.is_reset,
                trends=from_trends(trends.upserts, self._shard.identity.region),
                removed_trend_content_ids=[each for each, _ in trends.removed_subjects if each],
                removed_trend_genres=[genre for _, genre in trends.removed_subjects if genre],
                trend_count=trends.trend_count,
            ).SerializeToString()
        return encoded

    def _encode_popular(self, missing: Sequence[PopularList]) -> bytes:
        if not missing:
            return b""
        key = tuple(missing)
        encoded = self._popular.get(key)
        if encoded is None:
            lists = from_popular(missing)
            encoded = self._popular[key] = pb.GlobalUpdate(popular=lists).SerializeToString()
        return encoded
