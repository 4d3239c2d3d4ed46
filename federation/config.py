"""Settings of a federation: environment variables, read once at start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from constellation.config import (
    MAX_SECONDS,
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
    setting,
)
from constellation.federated.likes import MAX_DICTIONARY, MAX_NEIGHBOURS
from constellation.transport.codec.aggregates import MAX_CANDIDATES

_MAX_ANCHORS: Final = 4096
"""The largest PATTERNS_PER_SHARD: such a global has about 8 MiB, and a shard accepts 16 MiB."""


@dataclass(frozen=True, kw_only=True)
class FederationConfig:
    """Settings of a federation process. Each field is the environment variable of the same name.

    The type of a field decides how the variable is parsed: see `constellation.config.PARSERS`.
    """

    shard_addrs: Addresses = setting(
        Addresses(()),
        "Shards: host:port, separated by commas. Each address may serve only one shard.",
    )
    relay_addrs: Addresses = setting(
        Addresses(()),
        "Federations with RELAY=1: host:port, separated by commas. Each serves all shards "
        "below it.",
    )
    region: str = setting("global", "Name of this federation in its logs.")
    relay: bool = setting(
        default=False,
        text="1: run no rounds, but pass aggregates up to a federation above, and its globals "
        "down.",
    )
    grpc_addr: Address = setting(
        Address("0.0.0.0:50052"), "Address where gRPC is served, host:port."
    )
    rest_addr: Address = setting(
        Address("127.0.0.1:8081"),
        "Address where REST is served in clear text, host:port. Other machines need 0.0.0.0:8081.",
    )
    probe_addr: Address | None = setting(
        None,
        "Address where health alone is served over gRPC, with a limit of its own, for probes. "
        "Unset: only GRPC_ADDR serves it.",
    )
    metrics_addr: Address = setting(
        Address("127.0.0.1:9091"),
        "Address where Prometheus scrapes metrics, host:port. Other machines need 0.0.0.0:9091.",
    )
    tls_cert: Path | None = setting(
        None,
        "Certificate chain of this process, PEM: GRPC_ADDR then uses TLS. A new file is used for "
        "new connections, without a restart.",
    )
    tls_key: Path | None = setting(None, "Private key of TLS_CERT, PEM.")
    token_keys: Path | None = setting(
        None,
        "Keys that verify callers' tokens, made by `constellation keys new`. Unset: everybody who "
        "reaches a port may call everything.",
    )
    token_audience: str = setting(
        "constellation", "Name of the fleet: tokens for another one are refused."
    )
    insecure: bool = setting(
        default=False,
        text="1: start although TLS_CERT or TOKEN_KEYS is missing.",
    )
    token_file: Path | None = setting(
        None, "Token of this federation, which it sends to shards and relays."
    )
    tls_ca: Path | None = setting(
        None, "CA certificates of shards and relays, PEM: connections to them then use TLS."
    )
    signing_keys: Path | None = setting(
        None,
        "Private keys, made by `constellation keys new FILE --algorithm EdDSA`: the first one "
        "signs what is published. Unset: nothing is signed.",
    )
    global_keys: Path | None = setting(
        None,
        "Public keys of the federation above: a global state that none of them signed is refused. "
        "Unset: signatures are not checked.",
    )
    revoked_devices: Path | None = setting(
        None,
        "File with the ids of revoked devices, one on each line: every round publishes them to "
        "all shards.",
    )
    data_dir: Path | None = setting(
        None, "Directory of the journal. Unset: rounds are lost when the process ends."
    )
    postgres_url: Secret | None = setting(
        None, "PostgreSQL database that holds the journal, in place of DATA_DIR.", is_secret=True
    )
    vector_extension: VectorExtension = setting(
        VectorExtension("pgvector"),
        "PostgreSQL extension with which the schema was migrated: pgvector or ruvector.",
    )
    federation_interval_secs: Seconds = setting(
        Seconds(3600),
        "A round begins at each multiple of this interval. 0: only when RunRound asks for one.",
    )
    pull_timeout_seconds: Interval = setting(
        Interval(60), "A shard that takes longer counts as unavailable in this round."
    )
    publish_timeout_seconds: Interval = setting(
        Interval(30), "A shard that takes longer gets the global again later."
    )
    catch_up_seconds: Interval = setting(
        Interval(10), "Shards that do not have the latest global are offered it this often."
    )
    min_shards: Count = setting(
        Count(3),
        "Shards that a round needs, and that must contribute to a cluster or a global trend.",
    )
    min_coverage: Ratio = setting(Ratio(0.6), "Share of the known devices that a round needs.")
    max_age_seconds: Interval = setting(
        Interval(21_600), "The last aggregate of an unavailable shard counts for this long."
    )
    min_quality_threshold: Ratio = setting(
        Ratio(0.8), "Clusters with a lower success rate are not published."
    )
    global_k_anonymity: Count = setting(
        Count(50),
        "Devices that must support everything published: clusters, their content items, trends.",
    )
    privacy_epsilon: NonNegative = setting(
        NonNegative(0),
        "The most that all publications of one week may reveal of one device: differential "
        "privacy. 0: they have no noise.",
        most=64,
    )
    privacy_delta: Ratio = setting(
        Ratio(1e-10),
        "Probability with which PRIVACY_EPSILON may not hold for one device and week.",
        most=1e-5,  # a larger one promises nothing: a device of 100,000 could be published as it is
    )
    related_interval_secs: Seconds = setting(
        Seconds(86_400),
        "Related and popular content are computed this often, in the next round. 0: in each round.",
    )
    related_contents: Count = setting(
        Count(5000),
        "Largest number of content items that related content is computed for.",
        most=MAX_DICTIONARY,
    )
    related_neighbours: Count = setting(
        Count(32), "Largest number of neighbours of a content item.", most=MAX_NEIGHBOURS
    )
    related_lambda: Count = setting(
        Count(200),
        "Regularisation of related content: the larger, the more households a weight needs.",
        most=1_000_000,
    )
    patterns_per_shard: Count = setting(
        Count(1000), "Largest number of clusters.", most=_MAX_ANCHORS
    )
    candidates_per_shard: Count = setting(
        Count(256),
        "Local clusters that each shard offers as candidates for the codebook.",
        most=MAX_CANDIDATES,
    )
    candidate_devices: Count = setting(
        Count(5), "Devices that a local cluster needs to become an anchor."
    )
    reanchor_hours: Interval = setting(
        Interval(24),
        "The codebook is revised this often: anchors are added, merged and removed.",
        most=MAX_SECONDS // 3600,
    )
    robust_merge: RobustMerge = setting(
        RobustMerge("mean"),
        "mean, or geometric_median, which resists lying shards where at least 5 contribute.",
    )
    trend_decay_rate: Ratio = setting(Ratio(0.95), "Factor by which a trend fades each hour.")
    trend_floor: Count = setting(
        Count(50),
        "Up to this many devices an hour are no surprise, even if far fewer are usual.",
    )
    trend_surprise: NonNegative = setting(
        NonNegative(6),
        "Standard deviations above the usual that make a trend. 0: steady popularity is enough.",
    )
    log_level: LogLevel = setting(LogLevel("info"), "debug, info, warning or error.")
