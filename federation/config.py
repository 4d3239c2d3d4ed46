"""Settings of a federation: environment variables, read once, at start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from constellation.config import (
    Address,
    Addresses,
    Count,
    Interval,
    LogLevel,
    NonNegative,
    Ratio,
    RobustMerge,
    Seconds,
    Secret,
    VectorExtension,
)


@dataclass(frozen=True, kw_only=True)
class FederationConfig:
    """One federation process. A field is the variable of the same name; its type parses it."""

    shard_addrs: Addresses = Addresses(())
    """Shards: host:port, separated by commas. Each may answer for one shard."""
    relay_addrs: Addresses = Addresses(())
    """Federations with RELAY=1, likewise. Each answers for every shard below it."""
    region: str = "global"
    """In its logs."""
    relay: bool = False
    """1: run no rounds, but pass aggregates up to a federation above, and its globals down."""
    grpc_addr: Address = Address("0.0.0.0:50052")
    """Where gRPC is served, host:port."""
    rest_addr: Address = Address("0.0.0.0:8081")
    """Where REST is served, host:port."""
    metrics_addr: Address = Address("0.0.0.0:9091")
    """Where Prometheus scrapes, host:port."""
    data_dir: Path | None = None
    """Where the journal lives. Unset: rounds are forgotten at the end."""
    postgres_url: Secret | None = field(default=None, repr=False)  # may hold a password
    """The PostgreSQL database that holds the journal, in place of DATA_DIR."""
    vector_extension: VectorExtension = VectorExtension("pgvector")
    """The extension that the schema of that database was made with: pgvector or ruvector."""
    federation_interval_secs: Seconds = Seconds(3600)
    """A round begins at every full interval. 0: only when RunRound asks for one."""
    pull_timeout_seconds: Interval = Interval(60)
    """A shard that takes longer counts as away in this round."""
    publish_timeout_seconds: Interval = Interval(30)
    """A shard that takes longer gets the global again later."""
    catch_up_seconds: Interval = Interval(10)
    """Shards that do not hold the last global are offered it this often."""
    min_shards: Count = Count(3)
    """Shards that a round must hear, and that a cluster and a global trend must come from."""
    min_coverage: Ratio = Ratio(0.6)
    """Share of the known devices that a round must hear."""
    max_age_seconds: Interval = Interval(21_600)
    """The last aggregate of a shard that is away counts for so long."""
    min_quality_threshold: Ratio = Ratio(0.8)
    """Clusters with a lower success rate are not published."""
    global_k_anonymity: Count = Count(50)
    """Devices behind everything that is published: clusters, their contents, trends."""
    patterns_per_shard: Count = Count(1000)
    """Clusters at most."""
    candidates_per_shard: Count = Count(256)
    """Local clusters that each shard offers to a codebook."""
    candidate_devices: Count = Count(5)
    """Devices that a local cluster must have to become an anchor."""
    reanchor_hours: Interval = Interval(24)
    """The codebook is gone over this often: anchors appear, move together, disappear."""
    robust_merge: RobustMerge = RobustMerge("mean")
    """mean, or geometric_median: resists lying shards, where at least 5 contribute."""
    trend_decay_rate: Ratio = Ratio(0.95)
    """What an hour leaves of a trend."""
    trend_floor: Count = Count(50)
    """Devices an hour that surprise nobody, whatever was usual before."""
    trend_surprise: NonNegative = NonNegative(6)
    """Standard deviations above the usual that make a trend. 0: what is steadily popular counts."""
    log_level: LogLevel = LogLevel("info")
    """debug, info, warning or error."""
