"""The status of a device: what it learned, what waits, what was sent, and what was refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from constellation_settop.network.sync import Sync
    from constellation_settop.recommending.brain import Brain
    from constellation_settop.recommending.household import Household
    from constellation_settop.storage.outbox import Outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileStatus:
    """What one profile of a device learned."""

    liked: int
    """Content items in the history that were liked."""
    disliked: int
    """Content items in the history that were disliked."""
    patterns: int
    """Patterns that were learned."""
    patterns_below_quality: int
    """Patterns that stay on the device, because too few of their views were a success."""
    unknown_content_count: int
    """Views since the device was opened that named content the catalogue lacks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """What a device learned, what waits, what was sent, and what was refused and why.

    The counts of what was learned are those of all profiles together.
    """

    profiles: Mapping[str, ProfileStatus]
    """What each profile learned, by its name; that of the default profile is ""."""
    catalogue_size: int
    """Content items that can be recommended."""
    unknown_content_count: int
    """Views since the device was opened that named content the catalogue lacks."""
    liked: int
    """Content items in the history that the household liked."""
    disliked: int
    """Content items in the history that the household disliked."""
    patterns: int
    """Patterns that were learned."""
    patterns_below_quality: int
    """Patterns that stay on the device, because too few of their views were a success."""
    quality_threshold: float
    """The success rate that a pattern must reach to be shared."""
    is_sharing: bool
    """False means that nothing leaves the device."""
    waiting_deltas: int
    """Deltas in the file that the shard has not acked yet."""
    last_acked_seq: int
    """The number of the newest delta that the shard has acked; 0 for none."""
    rejections: Mapping[str, int]
    """Patterns that the shard did not store since the device was opened, by the reason."""
    related_rows: int
    """Content items of the household whose related content the device has."""
    popular_lists: int
    """Lists of popular content that the device has."""
    similar_patterns: int
    """Patterns of other households that the device has."""
    is_connected: bool
    """True while a shard has accepted the device; without a stream, that is only for a moment."""
    synced_at: float | None
    """When a delta was last acked or a sync completed, in seconds since 1970; None for never since
    the device was opened."""
    disconnect_reason: str | None
    """Why there is no connection; None while there is one, and before the first failure."""
    storage_problem: str | None
    """Why what was learned stays in memory at present; None while the file takes writes."""


def build_profile_status(brain: Brain, quality_threshold: float) -> ProfileStatus:
    """Return the status of one profile."""
    opinions = [entry.opinion for entry in brain.history.entries]
    patterns = brain.patterns
    return ProfileStatus(
        liked=sum(opinion > 0 for opinion in opinions),
        disliked=sum(opinion < 0 for opinion in opinions),
        patterns=len(patterns),
        patterns_below_quality=sum(each.success_rate < quality_threshold for each in patterns),
        unknown_content_count=brain.unknown_content_count,
    )


def build_status(household: Household, outbox: Outbox, sync: Sync) -> DeviceStatus:
    """Return the status of the parts of one device.

    Raises StorageError when the disk refuses.
    """
    threshold = outbox.quality_threshold
    profiles = {
        name: build_profile_status(brain, threshold) for name, brain in household.brains.items()
    }
    state = outbox.global_state
    return DeviceStatus(
        profiles=profiles,
        catalogue_size=len(household.catalogue),
        unknown_content_count=sum(each.unknown_content_count for each in profiles.values()),
        liked=sum(each.liked for each in profiles.values()),
        disliked=sum(each.disliked for each in profiles.values()),
        patterns=sum(each.patterns for each in profiles.values()),
        patterns_below_quality=sum(each.patterns_below_quality for each in profiles.values()),
        quality_threshold=round(threshold, 6),  # float32 on the wire
        is_sharing=outbox.is_sharing,
        waiting_deltas=len(outbox.pending_deltas),
        last_acked_seq=outbox.last_acked_seq,
        rejections=dict(sync.rejections),
        related_rows=len(state.related),
        popular_lists=len(state.popular),
        similar_patterns=len(state.similar),
        is_connected=sync.is_connected,
        synced_at=sync.synced_at,
        disconnect_reason=sync.disconnect_reason,
        storage_problem=outbox.write_problem,
    )
