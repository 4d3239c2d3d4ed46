"""Signatures of global states: the federation signs a header, and shards pin its keys."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from constellation.errors import ConfigError, UnauthenticatedError
from constellation.signed_lists import to_signed_bytes

if TYPE_CHECKING:
    from constellation.auth.key_file import KeyFile
    from constellation.v1.aggregates_pb2 import GlobalHeader
    from constellation.v1.patterns_pb2 import PopularContents

_PREFIX: Final = b"constellation global v1\0"


def sign_header(keys: KeyFile, header: GlobalHeader) -> None:
    """Sign a header with the first private key of a file. Raises ConfigError when it has none."""
    header.key_id, private_key = _find_signer(keys)
    header.signature = private_key.sign(_to_message(header))


def sign_popular(keys: KeyFile, sent: PopularContents) -> None:
    """Sign a list of popular content, as `sign_header` does."""
    sent.key_id, private_key = _find_signer(keys)
    sent.signature = private_key.sign(
        to_signed_bytes(sent.id, sent.region, sent.content_ids, sent.households)
    )


def _find_signer(keys: KeyFile) -> tuple[str, Ed25519PrivateKey]:
    signer = keys.read().signer
    private_key = None if signer is None else signer.load()
    if signer is None or not isinstance(private_key, Ed25519PrivateKey):
        raise ConfigError(
            "SIGNING_KEYS: the first key that signs must be an Ed25519 key: make one with "
            "`constellation keys new FILE --algorithm EdDSA`"
        )
    return signer.key_id, private_key


class HeaderVerifier:
    """Checks that a key of a file has signed the header of a global state."""

    def __init__(self, keys: KeyFile) -> None:
        self._keys = keys

    def check(self, header: GlobalHeader) -> None:
        """Raise UnauthenticatedError unless a key of the file has signed the header."""
        found = self._keys.read().find(header.key_id)
        if found is None:
            key = repr(header.key_id[:32]) if header.key_id else "nothing"
            raise UnauthenticatedError(
                f"the global state is signed by {key}, which GLOBAL_KEYS does not have"
            )
        key, _ = found
        public_key = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
        if not isinstance(public_key, Ed25519PublicKey):
            raise UnauthenticatedError(f"key {header.key_id!r} of GLOBAL_KEYS is no Ed25519 key")
        try:
            public_key.verify(header.signature, _to_message(header))
        except InvalidSignature:
            raise UnauthenticatedError(
                f"the signature of the global state is not one of key {header.key_id!r}"
            ) from None


def _to_message(header: GlobalHeader) -> bytes:
    numbers = struct.pack(">QQQ", header.generation, header.round_id, header.size_bytes)
    return _PREFIX + numbers + header.sha256
