"""Settings of a shard: a frozen dataclass. Also the types and limits that all settings have."""

from __future__ import annotations

from dataclasses import Field, dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Final, NewType, TypeVar

from constellation.federated.contribution import (
    LIKED_CONTENTS,
    LIKED_PER_WEEK,
    PATTERNS_PER_WEEK,
    SIGNALS_PER_HOUR,
    SIGNALS_PER_WEEK,
)
from constellation.federated.floors import K_ANONYMITY

T = TypeVar("T")
Ratio = NewType("Ratio", float)
"""From 0 to 1."""
NonNegative = NewType("NonNegative", float)
"""A number of at least 0."""
Seconds = NewType("Seconds", float)
"""Seconds, at least 0."""
Interval = NewType("Interval", float)
"""A length of time of at least 0.001, in the unit that the name of the setting ends in."""
Count = NewType("Count", int)
"""A whole number of at least 1."""
Region = NewType("Region", str)
"""The name of a region, which `check_new_term` accepts."""
Address = NewType("Address", str)
"""host:port. Port 0 lets the operating system choose one."""
Addresses = NewType("Addresses", tuple[str, ...])
"""Distinct addresses, separated by commas."""
Networks = NewType("Networks", tuple[IPv4Network | IPv6Network, ...])
"""Networks such as 10.0.0.0/8, separated by commas."""
ShardMap = NewType("ShardMap", dict[int, str])
"""Address of each shard by its number, in the form of `placement.parse_map`."""
LogLevel = NewType("LogLevel", str)
Secret = NewType("Secret", str)
"""A value that must not appear in logs or messages."""
VectorExtension = NewType("VectorExtension", str)
RobustMerge = NewType("RobustMerge", str)

MAX_INTEGER: Final = 2**31 - 1
"""The greatest whole number of any setting: what a C int, gRPC's options and PostgreSQL's integer
hold."""
MAX_SECONDS: Final = MAX_INTEGER
"""The longest time of any setting: 68 years."""
_MAX_POSTGRES_SECONDS: Final = MAX_INTEGER // 1000  # PostgreSQL counts milliseconds
_MAX_PATTERNS_PER_DEVICE: Final = 2**16 - 1  # counted in a uint16
_MAX_PER_WEEK: Final = 2**16 - 1  # counted in a uint16
_MAX_NEW_CONTENTS: Final = 2**16 - 1  # counted in a uint16
_MAX_CONTENTS: Final = 1_000_000  # half of the content ids, so that devices can name others
_MAX_STREAM_SECONDS: Final = 1_000_000  # gRPC counts the age of connections in an int of ms
_MAX_TREND_MIB: Final = 1 << 20
_MAX_CONNECTIONS: Final = 10_000
_MAX_STREAMS: Final = 2**30  # further calls are admitted beside them, and all are an int of C
_MAX_DAYS: Final = 36_500
_HELP: Final = "help"
_MOST: Final = "most"


def setting(default: T, text: str, *, most: float | None = None, is_secret: bool = False) -> T:
    """Return a field of a config class: its default, and the text that explains it to operators.

    `most` is the greatest number that whatever carries the setting can hold; without it, the limit
    of the type holds. Reads as a plain default for type checkers. A secret is left out of the
    `repr` of the config.
    """
    metadata = {_HELP: text, _MOST: most}
    made: Any = (
        field(default_factory=default.copy, metadata=metadata)
        if isinstance(default, dict)
        else field(default=default, repr=not is_secret, metadata=metadata)
    )
    value: T = made
    return value


def get_range(kind: Any, config_field: Field[Any]) -> tuple[float, float] | None:
    """Return the least and the most of a setting of this type; None unless it is a number."""
    if kind not in _RANGES:
        return None
    least, most = _RANGES[kind]
    return least, config_field.metadata[_MOST] or most


def get_help(config_field: Field[Any]) -> str:
    """Return the text that `setting` was given for this field."""
    text: str = config_field.metadata[_HELP]
    return text


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """Settings of a shard process. Each field is the environment variable of the same name.

    The type of a field decides how the variable is parsed: see `config_loader.PARSERS`.
    """

    shard_id: int = setting(0, "Number of this shard in SHARD_MAP.")
    region: Region = setting(
        Region("default"),
        "Name of the region that this shard serves. Devices see it with every trend.",
    )
    grpc_addr: Address = setting(
        Address("0.0.0.0:50051"), "Address where gRPC is served, host:port."
    )
    rest_addr: Address = setting(
        Address("127.0.0.1:8080"),
        "Address where REST is served in clear text, host:port. Other machines need 0.0.0.0:8080.",
    )
    internal_addr: Address | None = setting(
        None,
        "Address where everything is served over gRPC, for federations and operators. GRPC_ADDR "
        "then serves only what devices may call. Unset: GRPC_ADDR serves everything.",
    )
    probe_addr: Address | None = setting(
        None,
        "Address where health alone is served over gRPC, with a limit of its own, for probes. "
        "Unset: only GRPC_ADDR serves it.",
    )
    metrics_addr: Address = setting(
        Address("127.0.0.1:9090"),
        "Address where Prometheus scrapes metrics, host:port. Other machines need 0.0.0.0:9090.",
    )
    tls_cert: Path | None = setting(
        None,
        "Certificate chain of this process, PEM: GRPC_ADDR then uses TLS. A new file is used for "
        "new connections, without a restart.",
    )
    tls_key: Path | None = setting(None, "Private key of TLS_CERT, PEM.")
    client_ca: Path | None = setting(
        None,
        "CA certificates of those who may connect to INTERNAL_ADDR, PEM. Unset: they need no "
        "certificate.",
    )
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
    vendor_keys: Path | None = setting(
        None,
        "Public keys of the vendors whose devices may enrol, made by `constellation keys public`. "
        "Unset: no device can enrol.",
    )
    device_token_seconds: Interval = setting(
        Interval(3600), "How long a token is valid that a device gets with its vendor's claim."
    )
    revoked_devices: Path | None = setting(
        None,
        "File with the ids of revoked devices, one on each line. Those of the global state are "
        "added.",
    )
    global_keys: Path | None = setting(
        None,
        "Public keys of the federation, made by `constellation keys public`: a global state that "
        "none of them signed is refused. Unset: signatures are not checked.",
    )
    trusted_proxies: Networks = setting(
        Networks(()),
        "Networks of the proxies in front of the shard, such as 10.0.0.0/8: the last address of "
        "their x-forwarded-for counts as the device's. Unset: that of the connection counts, "
        "unless it is private.",
    )
    data_dir: Path | None = setting(
        None,
        "Directory of the SQLite store and of index snapshots. Unset: patterns are lost when "
        "the process ends.",
    )
    postgres_url: Secret | None = setting(
        None,
        "PostgreSQL database that stores the shard. DATA_DIR then holds index snapshots only.",
        is_secret=True,
    )
    vector_extension: VectorExtension = setting(
        VectorExtension("pgvector"),
        "PostgreSQL extension that stores embeddings: pgvector or ruvector.",
    )
    migrate_on_start: bool = setting(
        default=False,
        text="1: upgrade the database schema before serving, as `constellation migrate` does.",
    )
    postgres_pool_size: Count = setting(
        Count(4),
        "Connections for reads of the catalogue. Two more are for writes.",
        most=_MAX_CONNECTIONS,
    )
    postgres_timeout_seconds: Interval = setting(
        Interval(10),
        "A database that takes longer to answer is treated as unreachable.",
        most=_MAX_POSTGRES_SECONDS,
    )
    lease_seconds: Interval = setting(
        Interval(15),
        "After this long without a sign of life, another process may take the shard over.",
    )
    shard_map: ShardMap = setting(
        ShardMap({}), "All shards: 0=host:port,1=host:port. Unset: this shard owns every device."
    )
    internal_shard_map: ShardMap = setting(
        ShardMap({}),
        "INTERNAL_ADDR of all shards: 0=host:port,1=host:port. Commands with --all call these. "
        "Unset: they call SHARD_MAP.",
    )
    accept_shard_map: bool = setting(
        default=False,
        text="1: start even if SHARD_MAP gives away more than half of the devices that are stored.",
    )
    max_devices: Count = setting(
        Count(4_000_000),
        "Devices that the shard admits. Further ones are refused with RESOURCE_EXHAUSTED.",
    )
    attested_reserve: Ratio = setting(
        Ratio(0.1),
        "Share of MAX_DEVICES for devices whose token names their lot. Counts with VENDOR_KEYS.",
    )
    min_device_age_days: int = setting(
        7,
        "Days after which a device counts for what other devices see, if it was active on 3 of "
        "them. 0: at once, for tests and demonstrations.",
        most=_MAX_DAYS,
    )
    max_patterns: Count = setting(
        Count(40_000_000),
        "Patterns that the shard stores. Further ones are rejected with SHARD_FULL.",
    )
    max_patterns_per_device: Count = setting(
        Count(128),
        "Patterns stored for one device. Further ones are rejected with TOO_MANY_PATTERNS.",
        most=_MAX_PATTERNS_PER_DEVICE,
    )
    max_new_contents_per_hour: int = setting(
        256,
        "Content ids, unknown to the shard, that a device may add in an hour. Patterns with more "
        "are rejected with TOO_MANY_NEW_CONTENTS. 0: only the catalogue adds any.",
        most=_MAX_NEW_CONTENTS,
    )
    max_contents: Count = setting(
        Count(1_000_000),
        "Content items of the catalogue. Further ones are refused with RESOURCE_EXHAUSTED.",
        most=_MAX_CONTENTS,
    )
    max_memory_mib: int = setting(
        0,
        "Memory that the process may use. At 85 % of it, new devices are refused, at 92 % all "
        "streams, at 95 % nothing more is read. 0: the limit of the container, if it has one.",
    )
    max_trend_mib: Count = setting(
        Count(1024),
        "MiB of memory for the counts behind the trends. Signals that need more are dropped.",
        most=_MAX_TREND_MIB,
    )
    max_streams: Count = setting(
        Count(50_000), "Sync streams open at the same time.", most=_MAX_STREAMS
    )
    max_streams_per_connection: Count = setting(
        Count(250),
        "Calls that one connection may have open. Further ones wait in the client; whoever opens "
        "and resets calls beyond it is refused.",
        most=_MAX_STREAMS,
    )
    max_streams_per_lot: int = setting(
        0, "Sync streams that devices of one lot may have open. 0: as many as MAX_STREAMS."
    )
    max_streams_per_address: int = setting(
        1024,
        "Sync streams open from one IPv4 address, or one IPv6 /64. Many households may share it. "
        "0: as many as MAX_STREAMS.",
    )
    max_connects_per_lot: int = setting(
        0, "Streams and Exchange calls that devices of one lot may begin in a minute. 0: no limit."
    )
    max_connects_per_address: int = setting(
        2048, "Streams and Exchange calls that may begin in a minute from one address. 0: no limit."
    )
    max_new_devices_per_lot: int = setting(
        0, "Devices of one lot, unknown to the shard, that may come in an hour. 0: no limit."
    )
    max_new_devices_per_address: int = setting(
        256,
        "Devices unknown to the shard that may come from one address in an hour. 0: no limit.",
    )
    max_inflight_deltas: Count = setting(
        Count(32), "Unacknowledged deltas that one stream may have."
    )
    max_patterns_per_delta: Count = setting(Count(64), "Upserts and removals in one delta.")
    quality_threshold: Ratio = setting(
        Ratio(0.7), "Patterns with a lower success_rate are rejected."
    )
    share_threshold: Ratio = setting(
        Ratio(0.8), "Patterns with a lower success_rate are not shown to other devices."
    )
    k_anonymity: Count = setting(
        Count(K_ANONYMITY),
        "Devices that must share a content item before it is shown to others. Patterns are merged "
        "from twice as many, less one.",
        most=1000,
    )
    shared_patterns_seconds: Interval = setting(
        Interval(300), "Patterns of devices are merged into shared patterns this often."
    )
    related_sample: Ratio = setting(
        Ratio(1.0),
        "Share of the devices whose liked content is kept, and counted for related and popular "
        "content. Large shards need 100000 devices: set it to 100000 / devices. 0: none.",
    )
    signals_per_hour: Count = setting(
        Count(SIGNALS_PER_HOUR),
        "Content items of one device that count in one hour, for trends and as liked ones. 1 is "
        "best with DIFFERENTIAL_PRIVACY.",
        most=SIGNALS_PER_HOUR,
    )
    patterns_per_week: Count = setting(
        Count(PATTERNS_PER_WEEK),
        "New patterns of one device that are stored in a week, from Monday, 0:00 UTC. Further ones "
        "are rejected with TOO_MANY_NEW_PATTERNS.",
        most=_MAX_PER_WEEK,
    )
    signals_per_week: Count = setting(
        Count(SIGNALS_PER_WEEK),
        "Content items of one device that count in a week, for trends and as liked ones.",
        most=_MAX_PER_WEEK,
    )
    liked_per_week: Count = setting(
        Count(LIKED_PER_WEEK),
        "Content items that are added in a week to what one device liked.",
        most=_MAX_PER_WEEK,
    )
    related_liked: Count = setting(
        Count(LIKED_CONTENTS),
        "Content items of one device that count for related and popular content: its latest liked "
        "ones. 32 is best with DIFFERENTIAL_PRIVACY.",
        most=LIKED_CONTENTS,
    )
    differential_privacy: bool = setting(
        default=False,
        text="1: devices get nothing of other devices but what a federation with PRIVACY_EPSILON "
        "publishes, and that federation gets complete counts.",
    )
    trend_decay_rate: Ratio = setting(Ratio(0.95), "Factor by which a trend fades each hour.")
    active_window_seconds: Seconds = setting(
        Seconds(1800), "A device counts as active for this long after a sync."
    )
    heartbeat_seconds: Interval = setting(Interval(60), "Devices send a frame at least this often.")
    slow_reader_seconds: Interval = setting(
        Interval(60), "The stream of a device that reads no frame for longer is cut."
    )
    stream_seconds: Interval = setting(
        Interval(3000),
        "A device's stream is ended in order after this long, and the device comes back at once.",
        most=_MAX_STREAM_SECONDS,
    )
    sync_interval_seconds: Interval = setting(
        Interval(600), "Devices that do not stay connected sync this often."
    )
    global_interval_seconds: Interval = setting(Interval(60), "Trends are computed this often.")
    global_min_interval_seconds: Seconds = setting(
        Seconds(60), "Shortest time between two updates of one stream."
    )
    global_max_age_seconds: Seconds = setting(
        Seconds(9000), "If the global of the federation is older, health is degraded. 0: no limit."
    )
    device_ttl_days: Count = setting(
        Count(30), "Devices that were not heard for longer are deleted.", most=_MAX_DAYS
    )
    drain_seconds: Seconds = setting(
        Seconds(20), "When the process ends, it closes its streams one by one over this time."
    )
    snapshot_seconds: Interval = setting(
        Interval(300), "An index snapshot is written to DATA_DIR this often."
    )
    exact_limit: Count = setting(
        Count(4_000), "The index compares every pattern up to this many; above, it is partitioned."
    )
    log_level: LogLevel = setting(LogLevel("info"), "debug, info, warning or error.")


_RANGES: Final[dict[Any, tuple[float, int]]] = {
    int: (0, MAX_INTEGER),
    Ratio: (0, 1),
    NonNegative: (0, 1_000_000),
    Seconds: (0, MAX_SECONDS),
    Interval: (0.001, MAX_SECONDS),
    Count: (1, MAX_INTEGER),
}
"""By type of a number: the least and the most that a setting may be. NaN is in no range."""
