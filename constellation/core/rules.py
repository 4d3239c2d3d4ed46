"""The numbers a shard works by; each is a setting of the same name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What is admitted, stored, and shown to other devices."""

    max_devices: int = 4_000_000
    max_patterns: int = 40_000_000
    max_patterns_per_device: int = 128
    quality_threshold: float = 0.7
    """Patterns with a lower success_rate are not stored."""
    share_threshold: float = 0.8
    """Patterns with a lower success_rate are not shown to other devices."""
    k_anonymity: int = 5
    """Distinct devices that must support a content before it is shown to other devices."""
    similar_limit: int = 100
    trend_limit: int = 50
    trend_decay_rate: float = 0.95
    """What an hour leaves of a trend."""
    active_window_seconds: float = 1800.0
