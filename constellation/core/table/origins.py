"""DeviceOrigin: where a device comes from, as keyed hashes that name neither lot nor address."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address
from typing import Final

_HASH_BYTES: Final = 8
_LOT_PERSON: Final = b"device lot"
_NETWORK_PERSON: Final = b"device network"
_IPV4_HOST_BITS: Final = 8
_IPV6_HOST_BITS: Final = 80


@dataclass(frozen=True, slots=True)
class DeviceOrigin:
    """The production lot and the network of a device, as hashes; 0 for what is unknown."""

    lot: int = 0
    network: int = 0


UNKNOWN_ORIGIN: Final = DeviceOrigin()


@dataclass(frozen=True, slots=True)
class OriginHasher:
    """Hashes lots and networks with the secret of a store."""

    secret: bytes = b""

    def hash_lot(self, lot: str) -> int:
        """Return the hash of a production lot by its vendor's name for it; 0 for the empty name."""
        return self._hash(lot.encode(), _LOT_PERSON) if lot else 0

    def hash_network(self, address: IPv4Address | IPv6Address | None) -> int:
        """Return the hash of an address's /24 or /48; 0 for None."""
        if address is None:
            return 0
        host_bits = _IPV4_HOST_BITS if isinstance(address, IPv4Address) else _IPV6_HOST_BITS
        network = f"{address.version} {int(address) >> host_bits}"
        return self._hash(network.encode(), _NETWORK_PERSON)

    def _hash(self, text: bytes, person: bytes) -> int:
        digest = blake2b(text, digest_size=_HASH_BYTES, key=self.secret, person=person).digest()
        return int.from_bytes(digest, "little") or 1  # 0 means unknown
