"""KeyRing: the keys that sign and verify tokens, in a file with the format of RFC 7517 (JWKS).

The first symmetric key signs; every key verifies, so that a new key can be added before the old one
is removed. A file may also have public keys of somebody else who issues tokens: they verify only.
"""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from constellation.auth.files import read_limited, require_secret, write_whole
from constellation.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SIGNING_ALGORITHM: Final = "HS256"
"""The algorithm of symmetric keys, which everybody who verifies must keep secret."""
SIGNATURE_ALGORITHM: Final = "EdDSA"
"""The algorithm of private keys, whose public part verifies."""
KEY_BYTES: Final = 32
_ALGORITHMS: Final = (SIGNING_ALGORITHM, SIGNATURE_ALGORITHM, "ES256", "RS256")
_PUBLIC_FIELDS: Final = frozenset({"kty", "kid", "alg", "use", "crv", "x", "y", "n", "e"})
_MIN_KEY_BYTES: Final = 32
"""RFC 7518, 3.2: as long as the hash."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One key of a ring."""

    key_id: str
    algorithm: str
    fields: dict[str, Any]
    """The key as it stands in the file."""

    @property
    def can_sign(self) -> bool:
        """Return whether this is a secret or a private key."""
        return self.algorithm == SIGNING_ALGORITHM or "d" in self.fields

    def to_public(self) -> TokenKey | None:
        """Return the part that others may have; None for a symmetric key, which has none."""
        if self.algorithm == SIGNING_ALGORITHM:
            return None
        fields = {name: value for name, value in self.fields.items() if name in _PUBLIC_FIELDS}
        return TokenKey(self.key_id, self.algorithm, fields)

    def __repr__(self) -> str:  # the default would show the secret
        return f"TokenKey({self.key_id!r}, {self.algorithm!r})"

    def load(self) -> Any:
        """Return the key as PyJWT takes it. Raises ValueError when it is not a key."""
        try:
            return jwt.PyJWK(self.fields, algorithm=self.algorithm).key
        except jwt.PyJWTError as error:
            raise ValueError(f"key {self.key_id!r} is wrong: {error}") from error


class KeyRing:
    """Keys in the order of their file, of which the first symmetric one signs."""

    def __init__(self, keys: tuple[TokenKey, ...]) -> None:
        self.keys = keys
        self._loaded = {key.key_id: (key.load(), key.algorithm) for key in keys}

    def find(self, key_id: str) -> tuple[Any, str] | None:
        """Return a key and its algorithm; None for an unknown id."""
        return self._loaded.get(key_id)

    @property
    def signer(self) -> TokenKey | None:
        """Return the key that signs; None when all keys are public ones."""
        return next((key for key in self.keys if key.can_sign), None)

    def add_new(self) -> KeyRing:
        """Return a ring whose first key is a new random one, of the kind that signed until now."""
        signer = self.signer
        algorithm = SIGNING_ALGORITHM if signer is None else signer.algorithm
        return KeyRing((_make_key(algorithm), *self.keys))

    def to_public(self) -> KeyRing:
        """Return a ring with the public parts of all keys that have one."""
        public = (key.to_public() for key in self.keys)
        return KeyRing(tuple(key for key in public if key is not None))

    def remove(self, key_id: str) -> KeyRing:
        """Return a ring without a key."""
        return KeyRing(tuple(key for key in self.keys if key.key_id != key_id))


def read_key_ring(path: Path) -> KeyRing:
    """Read a file of keys. Raises ConfigError, which says what is wrong with it."""
    try:
        document = json.loads(read_limited(path))
        entries = document["keys"]
        ring = KeyRing(tuple(_parse_key(entry) for entry in entries))
    except OSError as error:
        raise ConfigError(
            f"cannot read the keys {path}: {error.strerror}; `constellation keys new` makes such a "
            "file"
        ) from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ConfigError(
            f"{path} is no key ring ({error}): make one with `constellation keys new`"
        ) from error
    if len(ring.keys) != len({key.key_id for key in ring.keys}):
        raise ConfigError(f"{path} has two keys with one id: remove one of them")
    if not ring.keys:
        raise ConfigError(f"{path} has no key: make one with `constellation keys rotate`")
    if ring.signer is not None:
        require_secret(path)
    return ring


def write_key_ring(path: Path, ring: KeyRing, *, is_new: bool) -> None:
    """Write a file that only its owner may read, all or nothing. Raises ConfigError otherwise."""
    document = json.dumps({"keys": [key.fields for key in ring.keys]}, indent=2)
    try:
        if is_new and path.exists():
            raise ConfigError(f"{path} exists: give another name, or add a key with `keys rotate`")
        write_whole(path, f"{document}\n".encode(), 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


def make_key_ring(algorithm: str = SIGNING_ALGORITHM) -> KeyRing:
    """Return a ring with one new random key, for HS256 or EdDSA."""
    return KeyRing((_make_key(algorithm),))


def _make_key(algorithm: str) -> TokenKey:
    if algorithm == SIGNATURE_ALGORITHM:
        return _make_private_key()
    secret = urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).rstrip(b"=").decode()
    key_id = secrets.token_hex(4)
    fields = {"kty": "oct", "kid": key_id, "alg": SIGNING_ALGORITHM, "use": "sig", "k": secret}
    return TokenKey(key_id, SIGNING_ALGORITHM, fields)


def _make_private_key() -> TokenKey:
    key_id = secrets.token_hex(4)
    made = OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate(), as_dict=True)
    fields = {"kid": key_id, "alg": SIGNATURE_ALGORITHM, "use": "sig", **made}
    return TokenKey(key_id, SIGNATURE_ALGORITHM, fields)


def _parse_key(entry: Any) -> TokenKey:
    if not isinstance(entry, dict):
        raise TypeError("a key must be an object")
    key_id, algorithm = entry["kid"], entry.get("alg")
    if not isinstance(key_id, str) or not key_id:
        raise ValueError("a key needs a kid")
    if algorithm not in _ALGORITHMS:
        known = ", ".join(_ALGORITHMS)
        raise ValueError(f"key {key_id!r} needs an alg among {known}, got {algorithm!r}")
    key = TokenKey(key_id, algorithm, entry)
    loaded = key.load()
    if algorithm == SIGNING_ALGORITHM and len(loaded) < _MIN_KEY_BYTES:
        raise ValueError(f"key {key_id!r} must have at least {_MIN_KEY_BYTES} bytes")
    return key
