"""The limits and thresholds of a shard; most are settings of the same name."""

from __future__ import annotations

from dataclasses import dataclass

from constellation.federated.contribution import (
    LIKED_CONTENTS,
    LIKED_PER_WEEK,
    PATTERNS_PER_WEEK,
    SIGNALS_PER_HOUR,
    SIGNALS_PER_WEEK,
)
from constellation.federated.floors import K_ANONYMITY


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """Decide what a shard admits, stores, and shows to other devices."""

    max_devices: int = 4_000_000
    max_patterns: int = 40_000_000
    max_patterns_per_device: int = 128
    max_new_contents_per_hour: int = 256
    """Content ids that one device may add to the vocabulary in an hour."""
    max_contents: int = 1_000_000
    """Content items of the catalogue. As many content ids are reserved for it."""
    max_trend_bytes: int = 1 << 30
    """Memory for the hourly counts of signals."""
    quality_threshold: float = 0.7
    """Patterns with a lower success_rate are not stored."""
    share_threshold: float = 0.8
    """Patterns with a lower success_rate are not shown to other devices."""
    related_sample: float = 1.0
    """The share of the devices whose liked content is kept and counted."""
    signals_per_hour: int = SIGNALS_PER_HOUR
    """Signals of one device that count in one hour."""
    patterns_per_week: int = PATTERNS_PER_WEEK
    """New patterns of one device that are stored in one week."""
    signals_per_week: int = SIGNALS_PER_WEEK
    """Signals of one device that count in one week."""
    liked_per_week: int = LIKED_PER_WEEK
    """Content items that are added in one week to what one device liked."""
    related_liked: int = LIKED_CONTENTS
    """The latest liked content items of one device that are counted."""
    is_noised_only: bool = False
    """Whether devices learn of other devices only what a federation publishes with noise."""
    k_anonymity: int = K_ANONYMITY
    """Distinct devices that must support a content item before other devices may see it."""
    min_device_age_days: int = 0
    """Days after which a device counts for what others see, if it was active on 3 of them; 0: at
    once."""
    attested_reserve: float = 0.0
    """The share of `max_devices` that only attested devices may fill."""
    similar_limit: int = 20
    """The most similar patterns that a device gets."""
    trend_limit: int = 50
    """The most trends that a device gets."""
    trend_decay_rate: float = 0.95
    """A trend's counts are multiplied by this for every hour that passes."""
    active_window_seconds: float = 1800.0
    """A device without a stream counts as active for this long after a sync."""
