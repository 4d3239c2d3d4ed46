"""Device keys: the Ed25519 key of a device, in a PEM file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from constellation.auth.files import read_limited
from constellation.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def make_device_key(path: Path) -> bytes:
    """Write a new private key, which only its owner may read, and return its public key, 32 bytes.

    Raises ConfigError when the file exists already or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} exists: leave out --new-key to use the key in it") from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    return key.public_key().public_bytes_raw()


def read_public_key(path: Path) -> bytes:
    """Return the public key, 32 bytes, of a file with a private or a public key.

    Raises ConfigError when it has none.
    """
    try:
        text = read_limited(path)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; --new-key makes such a file"
        ) from error
    try:
        if b"PRIVATE KEY" in text:
            private = load_pem_private_key(text, None)
            public = private.public_key()
        else:
            public = load_pem_public_key(text)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} is no key in PEM: {error}") from error
    if not isinstance(public, Ed25519PublicKey):
        raise ConfigError(
            f"{path} is no Ed25519 key: `openssl genpkey -algorithm ed25519` makes one"
        )
    return public.public_bytes_raw()
