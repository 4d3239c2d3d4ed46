"""Digests as databases store them: database integers are signed, digests are not."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from constellation.core.rows import DIGEST_MODULUS
from constellation.errors import DamagedStoreError, StoreFailedError

if TYPE_CHECKING:
    from constellation.federated.published import StoredGlobal


def to_signed(digest: int) -> int:
    """Return a digest, 0 to 2**64 - 1, as the signed 64-bit integer with the same bits."""
    return digest - DIGEST_MODULUS if digest >= DIGEST_MODULUS // 2 else digest


def to_unsigned(stored: int) -> int:
    """Return the digest that `to_signed` turned into this signed integer."""
    return stored % DIGEST_MODULUS


def to_signed_or_none(digest: int | None) -> int | None:
    return None if digest is None else to_signed(digest)


def to_unsigned_or_none(stored: int | None) -> int | None:
    return None if stored is None else to_unsigned(stored)


def digest_global(stored: StoredGlobal) -> bytes:
    """Return a hash of a stored global state with its round, as it is stored beside it."""
    digest = blake2b(stored.payload, digest_size=16)
    digest.update(f"{stored.generation} {stored.round_id}".encode())
    return digest.digest()


def require_global(stored: StoredGlobal, digest: bytes | None) -> StoredGlobal:
    """Return a global state that was read, or raise DamagedStoreError.

    `digest` is None when an earlier version of the program stored it.
    """
    if digest not in (None, digest_global(stored)):
        raise DamagedStoreError(
            f"global state of round {stored.round_id}: it does not have the digest that was stored "
            "with it"
        )
    return stored


def require_catalogue(found: int | None, expected: int | None) -> None:
    """Raise StoreFailedError unless the catalogue has the digest `expected`, or that is None."""
    if expected is not None and found != expected:
        raise StoreFailedError(
            f"the catalogue's digest must be {expected}, got {found}: the database was changed or "
            "restored meanwhile"
        )
