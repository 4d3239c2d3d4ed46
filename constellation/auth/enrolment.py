"""Enrolment: a device proves that it has the key that its vendor admitted, and gets a token.

The vendor signs a claim once, in the factory: a JSON Web Token whose `sub` is the device id and
whose `cnf` is the device's public key (RFC 7800). Later, and again before each token expires, the
device signs a challenge of the shard with its private key, which never leaves it. A shard needs no
record of the device for any of this.
"""

from __future__ import annotations

import hashlib
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from constellation.auth.principal import Role
from constellation.auth.tokens import MAX_TOKEN_BYTES, issue_token
from constellation.encoding import ID_BYTES
from constellation.errors import ConfigError, UnauthenticatedError

if TYPE_CHECKING:
    from constellation.auth.key_file import KeyFile
    from constellation.auth.keys import KeyRing
    from constellation.auth.revocations import RevokedDevices

CLAIM_AUDIENCE: Final = "constellation-device"
"""The audience of every claim, so that no other token of a vendor is one."""
PROOF_PREFIX: Final = b"constellation device proof v1\0"
"""What a device signs begins with this, so that a signature of it means nothing elsewhere."""
CHALLENGE_SECONDS: Final = 300
MAX_NOTE_BYTES: Final = 64
"""UTF-8 bytes of the lot or the model in a claim."""
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Claim:
    """What a vendor says of a device."""

    device_id: bytes
    public_key: bytes
    """The device's Ed25519 key, 32 bytes."""
    lot: str
    model: str


def derive_device_id(public_key: bytes) -> bytes:
    """Return the id of a device that has none from its vendor: it names the device's key."""
    return hashlib.sha256(public_key).digest()[:ID_BYTES]


def issue_claim(vendor: KeyRing, claim: Claim, seconds: float) -> str:
    """Return a claim that the vendor's first private key signs. Raises ConfigError without one."""
    signer = vendor.signer
    if signer is None or signer.algorithm == "HS256":
        raise ConfigError(
            "a vendor signs with a private key: make one with `constellation keys new FILE "
            "--algorithm EdDSA`"
        )
    now = int(time.time())
    text = urlsafe_b64encode(claim.public_key).rstrip(b"=").decode()
    claims = {
        "aud": CLAIM_AUDIENCE,
        "sub": claim.device_id.hex(),
        "cnf": {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": text}},
        "lot": claim.lot,
        "model": claim.model,
        "iat": now,
        "exp": now + int(seconds),
    }
    return jwt.encode(claims, signer.load(), signer.algorithm, headers={"kid": signer.key_id})


class TokenIssuer:
    """Gives tokens to devices that a vendor admitted."""

    def __init__(
        self,
        keys: KeyFile,
        vendors: KeyFile,
        revoked: RevokedDevices,
        audience: str,
        token_seconds: float,
    ) -> None:
        self._keys = keys
        self._vendors = vendors
        self._revoked = revoked
        self._audience = audience
        self.token_seconds = token_seconds

    def make_challenge(self) -> str:
        """Return what a device has to sign. Every process with the same keys takes it, for a while.

        Raises ConfigError when no key can sign.
        """
        signer = self._keys.read().signer
        if signer is None:
            raise ConfigError("TOKEN_KEYS has only public keys, and none of them can sign")
        claims = {"aud": self._challenge_audience, "exp": int(time.time()) + CHALLENGE_SECONDS}
        return jwt.encode(claims, signer.load(), signer.algorithm, headers={"kid": signer.key_id})

    def issue(self, claim: str, challenge: str, signature: bytes) -> str:
        """Return a token for the device of a claim, which has signed a challenge.

        Raises UnauthenticatedError, which says what is wrong and quotes nothing.
        """
        self._check_challenge(challenge)
        admitted = self._check_claim(claim)
        if admitted.device_id in self._revoked:
            raise UnauthenticatedError("this device was revoked")
        try:
            Ed25519PublicKey.from_public_bytes(admitted.public_key).verify(
                signature, PROOF_PREFIX + challenge.encode()
            )
        except InvalidSignature:
            raise UnauthenticatedError(
                "the signature of the challenge is not one of the key in the claim"
            ) from None
        return issue_token(
            self._keys.read(),
            self._audience,
            admitted.device_id.hex(),
            (Role.DEVICE,),
            self.token_seconds,
            lot=admitted.lot,
        )

    @property
    def _challenge_audience(self) -> str:
        return f"{self._audience}/challenge"

    def _check_challenge(self, challenge: str) -> None:
        _decode(challenge, self._keys.read(), self._challenge_audience, "challenge", ("exp", "aud"))

    def _check_claim(self, text: str) -> Claim:
        required = ("exp", "aud", "sub", "cnf")
        claims = _decode(text, self._vendors.read(), CLAIM_AUDIENCE, "claim", required)
        try:
            return _to_claim(claims)
        except (ValueError, TypeError, KeyError):
            raise UnauthenticatedError("the claim names no device with an Ed25519 key") from None


def _to_claim(claims: dict[str, Any]) -> Claim:
    device_id, jwk = bytes.fromhex(claims["sub"]), claims["cnf"]["jwk"]
    if (jwk["kty"], jwk["crv"]) != ("OKP", "Ed25519"):
        raise ValueError("another kind of key")
    text = jwk["x"]
    if not isinstance(text, str):
        raise TypeError("a key must be text")
    public_key = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if len(device_id) != ID_BYTES or len(public_key) != _KEY_BYTES:
        raise ValueError("a wrong length")
    lot, model = claims.get("lot", ""), claims.get("model", "")
    for note in (lot, model):
        if not isinstance(note, str) or len(note.encode()) > MAX_NOTE_BYTES:
            raise ValueError("a wrong lot or model")
    return Claim(device_id, public_key, lot, model)


def _decode(
    text: str, ring: KeyRing, audience: str, kind: str, required: tuple[str, ...]
) -> dict[str, Any]:
    """Return the verified contents of a claim or a challenge. Raises UnauthenticatedError."""
    if len(text) > MAX_TOKEN_BYTES:
        raise UnauthenticatedError(
            f"the {kind} has {len(text)} bytes, the most is {MAX_TOKEN_BYTES}"
        )
    try:
        found = ring.find(jwt.get_unverified_header(text).get("kid", ""))
        if found is None:
            raise UnauthenticatedError(f"no key of this process verifies the {kind}")
        key, algorithm = found
        claims: dict[str, Any] = jwt.decode(
            text,
            key,
            algorithms=[algorithm],
            audience=audience,
            options={"require": list(required)},
        )
    except jwt.ExpiredSignatureError:
        raise UnauthenticatedError(f"the {kind} has expired: get a new one") from None
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError):
        raise UnauthenticatedError(f"the {kind} is not a valid {kind}") from None
    return claims
