"""What the settings of a shard mean for its parts: rules, identity, limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.core.pressure import (
    DISK_THRESHOLDS,
    MEMORY_THRESHOLDS,
    Pressure,
    Resource,
)
from constellation.core.rules import Rules
from constellation.core.table.ownership import ShardIdentity
from constellation.errors import ConfigError
from constellation.resources import read_disk_share, read_memory_limit, read_resident_bytes
from constellation.transport.sync.limits import SessionLimits
from constellation.transport.sync.origin_limits import OriginLimits, SourceLimits

if TYPE_CHECKING:
    from constellation.config import ShardConfig


def to_rules(config: ShardConfig) -> Rules:
    """Return the rules for what the shard admits, stores and shows."""
    return Rules(
        max_devices=config.max_devices,
        max_patterns=config.max_patterns,
        max_patterns_per_device=config.max_patterns_per_device,
        max_new_contents_per_hour=config.max_new_contents_per_hour,
        max_contents=config.max_contents,
        max_trend_bytes=config.max_trend_mib << 20,
        quality_threshold=config.quality_threshold,
        share_threshold=config.share_threshold,
        k_anonymity=config.k_anonymity,
        min_device_age_days=config.min_device_age_days,
        attested_reserve=config.attested_reserve if config.vendor_keys is not None else 0.0,
        related_sample=config.related_sample,
        signals_per_hour=config.signals_per_hour,
        patterns_per_week=config.patterns_per_week,
        signals_per_week=config.signals_per_week,
        liked_per_week=config.liked_per_week,
        related_liked=config.related_liked,
        is_noised_only=config.differential_privacy,
        trend_decay_rate=config.trend_decay_rate,
        active_window_seconds=config.active_window_seconds,
    )


def to_identity(config: ShardConfig) -> ShardIdentity:
    """Return the shard's identity. Raises ConfigError when the settings contradict each other."""
    if config.shard_map and config.shard_id not in config.shard_map:
        raise ConfigError(
            f"SHARD_ID is {config.shard_id}, but SHARD_MAP has only {sorted(config.shard_map)}"
        )
    internal = config.internal_shard_map
    if internal and internal.keys() != config.shard_map.keys():
        raise ConfigError(
            f"INTERNAL_SHARD_MAP has the shards {sorted(internal)}, and SHARD_MAP "
            f"{sorted(config.shard_map)}: both must have the same"
        )
    return ShardIdentity(config.shard_id, config.region, config.shard_map, internal)


def make_pressure(config: ShardConfig) -> Pressure:
    """Return the watch over memory and disk, as far as they have limits."""
    watched = []
    limit = config.max_memory_mib << 20 or read_memory_limit()
    if limit:
        watched.append(Resource("memory", lambda: read_resident_bytes() / limit, MEMORY_THRESHOLDS))
    if (folder := config.data_dir) is not None:
        watched.append(
            Resource("the disk of DATA_DIR", lambda: read_disk_share(folder), DISK_THRESHOLDS)
        )
    return Pressure(watched)


def to_session_limits(config: ShardConfig) -> SessionLimits:
    """Return the limits of a device's session; Welcome tells them to devices."""
    return SessionLimits(
        max_inflight_deltas=config.max_inflight_deltas,
        max_patterns_per_delta=config.max_patterns_per_delta,
        heartbeat_seconds=config.heartbeat_seconds,
        sync_interval_seconds=config.sync_interval_seconds,
        global_min_interval_seconds=config.global_min_interval_seconds,
        max_streams=config.max_streams,
        slow_reader_seconds=config.slow_reader_seconds,
        stream_seconds=config.stream_seconds,
        origins=to_origin_limits(config),
    )


def to_origin_limits(config: ShardConfig) -> OriginLimits:
    """Return the limits for what comes from one lot, or from one address."""
    return OriginLimits(
        lot=SourceLimits(
            streams=config.max_streams_per_lot,
            connects_per_minute=config.max_connects_per_lot,
            new_devices_per_hour=config.max_new_devices_per_lot,
        ),
        address=SourceLimits(
            streams=config.max_streams_per_address,
            connects_per_minute=config.max_connects_per_address,
            new_devices_per_hour=config.max_new_devices_per_address,
        ),
    )


def to_resource_attributes(config: ShardConfig) -> dict[str, str]:
    """Return the attributes that every span of this process carries."""
    return {
        "constellation.shard_id": str(config.shard_id),
        "constellation.region": config.region,
    }
