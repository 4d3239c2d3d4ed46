"""Which shard owns a device: rendezvous hashing over the shard map, the same here and in the SDK.

Adding or removing a shard moves only the devices that it gains or loses.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DEVICE_ID_BYTES: Final = 16
MAX_SHARD_ID: Final = 2**32 - 1
"""Shard numbers are uint32 on the wire."""
_MAX_PORT: Final = 65535


def owner(device_id: bytes, shards: Mapping[int, str]) -> int:
    """Return the number of the shard with the highest weight for `device_id`.

    Only the numbers count, so a shard may change its address and keep its devices. Raises
    ValueError for an empty map or a device_id that is not DEVICE_ID_BYTES long.
    """
    if not shards:
        raise ValueError("the shard map is empty")
    if len(device_id) != DEVICE_ID_BYTES:
        raise ValueError(f"device_id must be {DEVICE_ID_BYTES} bytes, got {len(device_id)}")
    return max(shards, key=lambda shard_id: (_weight(device_id, shard_id), shard_id))


def _weight(device_id: bytes, shard_id: int) -> bytes:
    return blake2b(device_id + shard_id.to_bytes(8, "little"), digest_size=8).digest()


def parse_map(text: str) -> dict[int, str]:
    """Return the shards of "0=host:port,1=host:port", in the order of their numbers.

    Empty text is an empty map. Raises ValueError for anything else that is malformed.
    """
    shards: dict[int, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        number, separator, address = entry.partition("=")
        if not separator:
            raise ValueError(f"a shard is written number=host:port, got {entry!r}")
        shard_id = _parse_number(number.strip())
        if shard_id in shards:
            raise ValueError(f"shard {shard_id} is in the map twice")
        shards[shard_id] = _parse_address(address.strip())
    return dict(sorted(shards.items()))


def _parse_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_SHARD_ID):
        raise ValueError(f"a shard's number must be from 0 to {MAX_SHARD_ID}, got {text!r}")
    return int(text)


def _parse_address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT):
        raise ValueError(f"a shard's address must be host:port, got {text!r}")
    return text


def format_map(shards: Mapping[int, str]) -> str:
    """Return the text that `parse_map` reads."""
    return ",".join(f"{shard_id}={address}" for shard_id, address in sorted(shards.items()))


def map_version(shards: Mapping[int, str]) -> int:
    """Return a number, 0 to 2**64 - 1, that changes whenever the map does."""
    digest = blake2b(format_map(shards).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
