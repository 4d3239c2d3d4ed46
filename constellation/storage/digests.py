"""Digests as databases store them: database integers are signed, digests are not."""

from __future__ import annotations

from constellation.core.rows import DIGEST_MODULUS
from constellation.errors import StoreFailedError


def to_signed(digest: int) -> int:
    """Return a digest, 0 to 2**64 - 1, as the signed 64-bit integer with the same bits."""
    return digest - DIGEST_MODULUS if digest >= DIGEST_MODULUS // 2 else digest


def to_unsigned(stored: int) -> int:
    """Return the digest that `to_signed` turned into this signed integer."""
    return stored % DIGEST_MODULUS


def require_catalogue(found: int | None, expected: int | None) -> None:
    """Raise StoreFailedError unless the catalogue has the digest `expected`, or that is None."""
    if expected is not None and found != expected:
        raise StoreFailedError(
            f"the catalogue's digest must be {expected}, got {found}: the database was changed or "
            "restored meanwhile"
        )
