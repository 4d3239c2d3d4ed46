"""The loader of settings: environment variables, read once at start into a frozen dataclass."""

from __future__ import annotations

import os
from dataclasses import MISSING, Field, fields
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

from constellation.config import (
    Address,
    Addresses,
    Count,
    Interval,
    LogLevel,
    Networks,
    NonNegative,
    Ratio,
    Region,
    RobustMerge,
    Seconds,
    Secret,
    ShardMap,
    VectorExtension,
    get_range,
)
from constellation.errors import ConfigError
from constellation.federated.terms import check_new_term
from constellation.placement import MAX_PORT, is_address, parse_map

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")
_LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_VECTOR_EXTENSIONS: Final = ("pgvector", "ruvector")
_ROBUST_MERGES: Final = ("mean", "geometric_median")


def load_config(kind: type[T], env: Mapping[str, str] = os.environ) -> T:
    """Read the settings of a config class from environment variables.

    An empty variable counts as unset. Raises ConfigError, which names every wrong variable.
    """
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for each in fields(kind):  # type: ignore[arg-type]  # T is a dataclass
        variable = each.name.upper()
        if text := env.get(variable):
            try:
                values[each.name] = _parse(each, hints[each.name], text)
            except ValueError as error:
                problems.append(f"{variable}: {error}")
        elif each.default is each.default_factory is MISSING:
            problems.append(f"{variable} is required")
    if problems:
        raise ConfigError("; ".join(problems))
    return kind(**values)


def _parse(config_field: Field[Any], kind: Any, text: str) -> Any:
    """Return the value of a variable. Raises ValueError, which names the value and the limit."""
    value = PARSERS[kind](text)
    limits = get_range(kind, config_field)
    if limits and not limits[0] <= value <= limits[1]:
        raise ValueError(f"must be from {limits[0]} to {limits[1]}, got {text}")
    return value


def _parse_integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"must be a whole number, got {text!r}") from None


def _parse_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"must be a number, got {text!r}") from None


def _parse_region(text: str) -> str:
    return check_new_term(text)


def _parse_address(text: str) -> str:
    if not is_address(text, minimum_port=0):
        raise ValueError(f"must be host:port with a port from 0 to {MAX_PORT}, got {text!r}")
    return text


def _parse_addresses(text: str) -> tuple[str, ...]:
    addresses = tuple(_parse_address(part.strip()) for part in text.split(",") if part.strip())
    if not addresses:
        raise ValueError(f"must be host:port, or several separated by commas, got {text!r}")
    if len(set(addresses)) < len(addresses):
        raise ValueError(f"must name each address once, got {text!r}")
    return addresses


def _parse_networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError(
            f"must be networks such as 10.0.0.0/8, separated by commas, got {text!r}"
        ) from None


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
    Ratio: _parse_number,
    Seconds: _parse_number,
    Interval: _parse_number,
    Count: _parse_integer,
    Region: _parse_region,
    Address: _parse_address,
    Address | None: _parse_address,
    Addresses: _parse_addresses,
    NonNegative: _parse_number,
    Networks: _parse_networks,
    ShardMap: parse_map,
    LogLevel: _make_choice_parser(*_LOG_LEVELS),
    VectorExtension: _make_choice_parser(*_VECTOR_EXTENSIONS),
    RobustMerge: _make_choice_parser(*_ROBUST_MERGES),
    Secret | None: str,
    bool: _parse_flag,
}
"""By type of a setting: the function that parses its variable, or raises ValueError."""
