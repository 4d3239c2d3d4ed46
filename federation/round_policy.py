"""RoundPolicy: when rounds run, and what they require."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPolicy:
    """When rounds run, and what they require. Each field is a setting."""

    interval_seconds: float = 3600.0
    pull_timeout_seconds: float = 60.0
    max_age_seconds: float = 21_600.0
    """Older aggregates are not used."""
    min_shards: int = 3
    """Shards that must answer for a round to be published."""
    min_coverage: float = 0.6
    """The share of known devices, from 0 to 1, whose shards must answer."""
    max_candidates: int = 256
    """Candidates that a shard is asked for when the codebook is made or revised."""
    is_relay: bool = False
    """This federation is a relay: the federation above runs the rounds."""
