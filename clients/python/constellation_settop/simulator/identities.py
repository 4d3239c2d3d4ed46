"""Identities of simulated devices in a secured fleet, which their vendor's key admits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation_settop.errors import InvalidArgumentError
from constellation_settop.network.identity import DeviceIdentity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_CLAIM_SECONDS: Final = 86_400.0
_LOT, _MODEL = "simulated", "simulator"


def read_vendor(vendor_keys: Path) -> Callable[[], DeviceIdentity]:
    """Return a function that makes a device with a key of its own, admitted by the vendor.

    Args:
        vendor_keys: the vendor's file of private keys, as `constellation keys new --algorithm
            EdDSA` makes it.

    Raises InvalidArgumentError when the file cannot be used, or the server's packages are missing.
    """
    try:  # not at the top: devices do without these packages
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PrivateKey,
        )

        from constellation.auth.enrolment import (  # noqa: PLC0415
            Claim,
            derive_device_id,
            issue_claim,
        )
        from constellation.auth.keys import read_key_ring  # noqa: PLC0415
        from constellation.errors import ConfigError  # noqa: PLC0415
    except ImportError as error:
        raise InvalidArgumentError(
            f"--vendor-keys needs the package {error.name}: install constellation-tv[server]"
        ) from error

    try:
        ring = read_key_ring(vendor_keys)
        issue_claim(ring, Claim(bytes(16), bytes(32), _LOT, _MODEL), _CLAIM_SECONDS)
    except (ConfigError, OSError) as error:
        raise InvalidArgumentError(f"{vendor_keys}: {error}") from error

    def make_identity() -> DeviceIdentity:
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes_raw()
        claim = Claim(derive_device_id(public), public, _LOT, _MODEL)
        return DeviceIdentity(claim=issue_claim(ring, claim, _CLAIM_SECONDS), sign=key.sign)

    return make_identity
