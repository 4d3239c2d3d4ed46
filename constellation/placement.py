"""The shard map, and the owner of each device by rendezvous hashing. Servers and the SDK share it.

Adding or removing a shard moves only the devices that this shard gains or loses.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

DEVICE_ID_BYTES: Final = 16
MAX_SHARD_ID: Final = 2**31 - 1
"""Shard numbers are uint32 on the wire, and an integer in PostgreSQL."""
MAX_PORT: Final = 65535
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


def find_owner(device_id: bytes, shards: Mapping[int, str]) -> int:
    """Return the number of the shard with the highest weight for `device_id`.

    Only the numbers of the shards count, so a shard keeps its devices when its address changes.
    Raises ValueError for an empty map, or a device_id that does not have DEVICE_ID_BYTES bytes.
    """
    if len(device_id) != DEVICE_ID_BYTES:
        raise ValueError(f"device_id must have {DEVICE_ID_BYTES} bytes, got {len(device_id)}")
    return int(find_owners(device_id, shards)[0])


def find_owners(device_ids: bytes, shards: Mapping[int, str]) -> NDArray[np.int64]:
    """Return the number of the shard that owns each device, shape (n,).

    `device_ids` are n concatenated ids of 16 bytes. The weight of a shard is SplitMix64's finaliser
    (Steele, Lea, Flood, OOPSLA 2014) over its number and the two little-endian halves of the id. Of
    shards with equal weights, the one with the higher number wins. Raises ValueError for an empty
    map.
    """
    if not shards:
        raise ValueError("the shard map is empty")
    halves = np.frombuffer(device_ids, "<u8").reshape(-1, 2)
    best = np.zeros(len(halves), np.uint64)
    chosen = np.full(len(halves), -1, np.int64)
    for shard_id in sorted(shards):
        key = _mix(np.array([shard_id + 1], np.uint64) * _GOLDEN)
        weights = _mix(_mix(halves[:, 0] ^ key) ^ halves[:, 1])
        higher = (weights >= best) | (chosen < 0)
        best[higher], chosen[higher] = weights[higher], shard_id
    return chosen


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def parse_map(text: str) -> dict[int, str]:
    """Return the shards of a text like "0=host:port,1=host:port", in the order of their numbers.

    Empty text is an empty map. Raises ValueError for malformed text.
    """
    shards: dict[int, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        number, separator, address = entry.partition("=")
        if not separator:
            raise ValueError(f"a shard must be number=host:port, got {entry!r}")
        shard_id = _parse_number(number.strip())
        if shard_id in shards:
            raise ValueError(f"shard {shard_id} is in the map twice")
        shards[shard_id] = _parse_address(shard_id, address.strip())
    return dict(sorted(shards.items()))


def _parse_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_SHARD_ID):
        raise ValueError(f"the number of a shard must be from 0 to {MAX_SHARD_ID}, got {text!r}")
    return int(text)


def _parse_address(shard_id: int, text: str) -> str:
    if not is_address(text):
        raise ValueError(
            f"the address of shard {shard_id} must be host:port with a port from 1 to {MAX_PORT}, "
            f"got {text!r}"
        )
    return text


def is_address(text: str, *, minimum_port: int = 1) -> bool:
    """Return whether a text is host:port with a port from `minimum_port` to MAX_PORT."""
    host, _, port = text.rpartition(":")
    is_number = port.isascii() and port.isdigit()
    return bool(host) and is_number and minimum_port <= int(port) <= MAX_PORT


def format_map(shards: Mapping[int, str]) -> str:
    """Return a shard map as text in the form that `parse_map` reads, in the order of numbers."""
    return ",".join(f"{shard_id}={address}" for shard_id, address in sorted(shards.items()))


def map_version(shards: Mapping[int, str]) -> int:
    """Return a number, 0 to 2**64 - 1, that is different for different maps."""
    digest = blake2b(format_map(shards).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
