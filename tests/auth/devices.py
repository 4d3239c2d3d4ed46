"""Devices that a vendor admitted: their keys, claims and proofs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from constellation.auth.enrolment import PROOF_PREFIX, Claim, derive_device_id, issue_claim
from constellation.auth.keys import KeyRing, make_key_ring, write_key_ring

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400.0


@dataclass(frozen=True)
class Vendor:
    """A vendor with a private key, and the file with its public one."""

    ring: KeyRing
    public: Path

    @classmethod
    def make(cls, folder: Path, name: str = "vendor") -> Vendor:
        ring = make_key_ring("EdDSA")
        public = folder / f"{name}-public.json"
        write_key_ring(public, ring.to_public(), is_new=True)
        return cls(ring, public)


class Television:
    """A device with a key."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.public_key = self.key.public_key().public_bytes_raw()
        self.device_id = derive_device_id(self.public_key)

    def get_claim(
        self, vendor: Vendor, seconds: float = DAY, device_id: bytes | None = None
    ) -> str:
        claim = Claim(device_id or self.device_id, self.public_key, "lot-7", "model-x")
        return issue_claim(vendor.ring, claim, seconds)

    def sign(self, challenge: str) -> bytes:
        return self.key.sign(PROOF_PREFIX + challenge.encode())

    def to_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
