"""ContributorSample: the devices whose liked content a shard keeps and counts."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

_HASH_BYTES: Final = 8
_PERSON: Final = b"related sample"
"""Makes these hashes independent of others with the same key."""


@dataclass(frozen=True, slots=True)
class ContributorSample:
    """A share of all devices, chosen by a keyed hash of their ids.

    A device stays in or out for good, also after it was deleted, as long as the store keeps its
    secret. A larger share contains every smaller one.
    """

    secret: bytes = b""
    """The key, so that nobody outside can tell, or choose, who contributes."""
    share: float = 1.0
    """From 0 to 1."""

    def contains(self, device_id: bytes) -> bool:
        """Return whether a device contributes."""
        if self.share >= 1:
            return True
        digest = blake2b(device_id, digest_size=_HASH_BYTES, key=self.secret, person=_PERSON)
        return int.from_bytes(digest.digest(), "big") < int(self.share * 2.0 ** (8 * _HASH_BYTES))


EVERY_DEVICE: Final = ContributorSample()
