"""Settings: environment variables, read once, at start, into one frozen dataclass."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, NewType, TypeVar, get_type_hints

from constellation.errors import ConfigError
from constellation.placement import parse_map

T = TypeVar("T")
Ratio = NewType("Ratio", float)
Seconds = NewType("Seconds", float)
Interval = NewType("Interval", float)
Count = NewType("Count", int)
Address = NewType("Address", str)
Addresses = NewType("Addresses", tuple[str, ...])
NonNegative = NewType("NonNegative", float)
ShardMap = NewType("ShardMap", dict[int, str])
LogLevel = NewType("LogLevel", str)
Secret = NewType("Secret", str)
VectorExtension = NewType("VectorExtension", str)
RobustMerge = NewType("RobustMerge", str)

_LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_VECTOR_EXTENSIONS: Final = ("pgvector", "ruvector")
_ROBUST_MERGES: Final = ("mean", "geometric_median")
_MAX_PORT: Final = 65535


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """One shard process. A field is the variable of the same name; its type parses it."""

    shard_id: int = 0
    """This shard's number in SHARD_MAP."""
    region: str = "default"
    """Told to devices with every trend."""
    grpc_addr: Address = Address("0.0.0.0:50051")
    """Where gRPC is served, host:port."""
    rest_addr: Address = Address("0.0.0.0:8080")
    """Where REST is served, host:port."""
    metrics_addr: Address = Address("0.0.0.0:9090")
    """Where Prometheus scrapes, host:port."""
    data_dir: Path | None = None
    """Where the SQLite store and index snapshots live. Unset: patterns are lost at the end."""
    postgres_url: Secret | None = field(default=None, repr=False)  # may hold a password
    """The PostgreSQL database that stores the shard; DATA_DIR then holds index snapshots only."""
    vector_extension: VectorExtension = VectorExtension("pgvector")
    """What stores embeddings in PostgreSQL: pgvector or ruvector."""
    migrate_on_start: bool = False
    """1: bring the database's schema up to date before serving, as `constellation migrate` does."""
    postgres_pool_size: Count = Count(4)
    """Connections for reads of the catalogue, beside two for writes."""
    postgres_timeout_seconds: Interval = Interval(10)
    """A database that takes longer is taken for away."""
    lease_seconds: Interval = Interval(15)
    """A process that went silent is replaced after so long, when others wait for its shard."""
    shard_map: ShardMap = field(default_factory=lambda: ShardMap({}))
    """All shards, "0=host:port,1=host:port". Unset: this shard owns every device."""
    max_devices: Count = Count(4_000_000)
    """Devices admitted; one more is refused with RESOURCE_EXHAUSTED."""
    max_patterns: Count = Count(40_000_000)
    """Patterns stored in all; one more is rejected SHARD_FULL."""
    max_patterns_per_device: Count = Count(128)
    """Patterns stored for one device; one more is rejected TOO_MANY_PATTERNS."""
    max_streams: Count = Count(50_000)
    """Streams open at once."""
    max_inflight_deltas: Count = Count(32)
    """Deltas a stream may have unacked."""
    max_patterns_per_delta: Count = Count(64)
    """Upserts and removals in one delta."""
    quality_threshold: Ratio = Ratio(0.7)
    """Patterns with a lower success_rate are rejected."""
    share_threshold: Ratio = Ratio(0.8)
    """Patterns with a lower success_rate are not shown to other devices."""
    k_anonymity: Count = Count(5)
    """Devices that must share a content before it is shown to others."""
    trend_decay_rate: Ratio = Ratio(0.95)
    """What an hour leaves of a trend."""
    active_window_seconds: Seconds = Seconds(1800)
    """A device that synced within it counts as active."""
    heartbeat_seconds: Interval = Interval(60)
    """Devices send a frame at least this often."""
    slow_reader_seconds: Interval = Interval(60)
    """A device that has not read a frame for longer is cut."""
    sync_interval_seconds: Interval = Interval(600)
    """Devices that do not stay connected sync this often."""
    global_interval_seconds: Interval = Interval(60)
    """Trends are worked out this often."""
    global_min_interval_seconds: Seconds = Seconds(60)
    """Between two updates of one stream."""
    global_max_age_seconds: Seconds = Seconds(9000)
    """A federation's global that is older makes health degraded. 0: none is too old."""
    device_ttl_days: Count = Count(30)
    """Devices silent for longer are deleted."""
    drain_seconds: Seconds = Seconds(20)
    """At the end, streams are asked to leave one by one over this time."""
    snapshot_seconds: Interval = Interval(300)
    """The index is kept on disk this often."""
    exact_limit: Count = Count(50_000)
    """The index is exact up to this many patterns."""
    log_level: LogLevel = LogLevel("info")
    """debug, info, warning or error."""


def load_config(kind: type[T], env: Mapping[str, str] = os.environ) -> T:
    """Read every variable, then report all the problems together."""
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for setting in fields(kind):  # type: ignore[arg-type]  # a dataclass, whichever it is
        variable = setting.name.upper()
        if text := env.get(variable):
            try:
                values[setting.name] = PARSERS[hints[setting.name]](text)
            except ValueError as error:
                problems.append(f"{variable}: {error}")
        elif setting.default is setting.default_factory is MISSING:
            problems.append(f"{variable} is required")
    if problems:
        raise ConfigError("; ".join(problems))
    return kind(**values)


def _parse_integer(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ValueError(f"must be a whole number, got {text!r}") from None
    if value < 0:
        raise ValueError(f"must not be negative, got {value}")
    return value


def _parse_count(text: str) -> int:
    if not (value := _parse_integer(text)):
        raise ValueError("must be at least 1, got 0")
    return value


def _parse_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"must be a number, got {text!r}") from None


def _parse_ratio(text: str) -> float:
    if not 0 <= (value := _parse_number(text)) <= 1:
        raise ValueError(f"must be from 0 to 1, got {text}")
    return value


def _parse_seconds(text: str) -> float:
    if not 0 <= (value := _parse_number(text)) < float("inf"):
        raise ValueError(f"must be seconds from 0 on, got {text}")
    return value


def _parse_interval(text: str) -> float:
    if not (value := _parse_seconds(text)):
        raise ValueError("must be more than 0 seconds, got 0")
    return value


def _parse_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > _MAX_PORT:
        raise ValueError(f"must be host:port with a port from 0 to {_MAX_PORT}, got {text!r}")
    return text


def _parse_addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(_parse_address(part.strip()) for part in text.split(",") if part.strip())
    if not addresses:
        raise ValueError(f"must be host:port, separated by commas, got {text!r}")
    if len(set(addresses)) < len(addresses):
        raise ValueError(f"must name each address once, got {text!r}")
    return addresses


def _parse_non_negative(text: str) -> float:
    if not 0 <= (value := _parse_number(text)) < float("inf"):
        raise ValueError(f"must be from 0 on, got {text}")
    return value


def _parse_flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError(f"must be 0 or 1, got {text!r}")
    return text == "1"


def _make_choice_parser(*known: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in known:
            raise ValueError(f"must be one of {', '.join(known)}, got {text!r}")
        return text.lower()

    return parse


PARSERS: Final[dict[Any, Callable[[str], Any]]] = {
    int: _parse_integer,
    str: str,
    Path | None: Path,
    Ratio: _parse_ratio,
    Seconds: _parse_seconds,
    Interval: _parse_interval,
    Count: _parse_count,
    Address: _parse_address,
    Addresses: _parse_addresses,
    NonNegative: _parse_non_negative,
    ShardMap: parse_map,
    LogLevel: _make_choice_parser(*_LOG_LEVELS),
    VectorExtension: _make_choice_parser(*_VECTOR_EXTENSIONS),
    RobustMerge: _make_choice_parser(*_ROBUST_MERGES),
    Secret | None: str,
    bool: _parse_flag,
}
