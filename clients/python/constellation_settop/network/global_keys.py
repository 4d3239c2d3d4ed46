"""GlobalKeys: the federation's keys that a device pins, so that no shard can invent lists."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Final, Self

from constellation.signed_lists import to_signed_bytes
from constellation_settop.columns import MalformedUpdateError
from constellation_settop.errors import InvalidArgumentError
from constellation_settop.network.files import read_limited

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from constellation.v1 import patterns_pb2 as pb

_KEY_BYTES: Final = 32


class UnsignedUpdateError(MalformedUpdateError):
    """An update has a list that no pinned key signed."""


class GlobalKeys:
    """Public keys of the federation. A list of popular content needs a signature of one of them.

    Pin two keys: the one in use, and its successor. Needs the package `cryptography`.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Take Ed25519 keys, 32 bytes each, by their ids.

        Raises InvalidArgumentError for an invalid key, and when there is none.
        """
        # Not at the top: a device that pins no keys does without the package.
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
            Ed25519PublicKey,
        )

        if not keys:
            raise InvalidArgumentError("there must be at least one key")
        for key_id, key in keys.items():
            if len(key) != _KEY_BYTES:
                raise InvalidArgumentError(
                    f"key {key_id!r} must have {_KEY_BYTES} bytes, got {len(key)}"
                )
        self._keys = {
            key_id: Ed25519PublicKey.from_public_bytes(key) for key_id, key in keys.items()
        }
        self._invalid_signature = InvalidSignature

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """Read public keys, as `constellation keys public` writes them.

        Raises InvalidArgumentError when the file cannot be read, or has another kind of key.
        """
        text = read_limited(path)
        try:
            entries = json.loads(text)["keys"]
            keys = {entry["kid"]: _decode_key(entry) for entry in entries}
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidArgumentError(
                f"{path} has no public keys ({error!r}): `constellation keys public` writes them"
            ) from error
        return cls(keys)

    def verify(self, key_id: str, signature: bytes, message: bytes) -> bool:
        """Return whether a pinned key made this signature of the message."""
        key = self._keys.get(key_id)
        if key is None:
            return False
        try:
            key.verify(signature, message)
        except (self._invalid_signature, ValueError):
            return False
        return True

    def __contains__(self, key_id: str) -> bool:
        """Return whether a key is pinned."""
        return key_id in self._keys


def require_signed(update: pb.GlobalUpdate, pinned: GlobalKeys) -> None:
    """Raise UnsignedUpdateError unless a pinned key signed each new list of popular content."""
    for popular in update.popular:
        if popular.key_id not in pinned:
            signer = f"by key {popular.key_id[:32]!r}" if popular.key_id else "by nobody"
            raise UnsignedUpdateError(
                f"a list of popular content is signed {signer}, and that key is not pinned"
            )
        if not _is_signed(popular, pinned):
            raise UnsignedUpdateError(
                f"the signature of a list of popular content is not one of key {popular.key_id!r}"
            )


def _is_signed(popular: pb.PopularContents, pinned: GlobalKeys) -> bool:
    try:
        message = to_signed_bytes(
            popular.id, popular.region, popular.content_ids, popular.households
        )
    except ValueError:  # columns of different lengths, which nobody signs
        return False
    return pinned.verify(popular.key_id, popular.signature, message)


def _decode_key(entry: Mapping[str, str]) -> bytes:
    if (entry["kty"], entry["crv"]) != ("OKP", "Ed25519"):
        raise ValueError("a key is not of the kind Ed25519")
    if "d" in entry:
        raise ValueError("it has a private key, which devices must not have")
    text = entry["x"]
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
