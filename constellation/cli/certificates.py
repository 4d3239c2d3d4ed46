"""Read the certificates and the key that the flags name, and check them before gRPC gets them."""

from __future__ import annotations

import os
import ssl
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import grpc

from constellation.auth.files import require_secret
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import USAGE_ERROR
from constellation.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_BYTES: Final = 1 << 20
"""The system's own bundle of authorities has a quarter of this."""


def load_credentials(
    ca: Path | None, cert: Path | None, key: Path | None
) -> grpc.ChannelCredentials:
    """Return credentials for TLS; `cert` and `key` come together.

    gRPC names no file that it cannot use, and says that the connection was refused. Raises
    CommandError, which names the flag and the file.
    """
    if key is not None:
        try:
            require_secret(key)
        except ConfigError as error:
            raise CommandError(f"--key: {error}", USAGE_ERROR) from None
    authorities, chain, private_key = (
        _read_file("--ca", ca),
        _read_file("--cert", cert),
        _read_file("--key", key),
    )
    if authorities is not None:
        _require_certificates(f"--ca {ca}", authorities)
    if chain is not None and private_key is not None:
        _require_certificates(f"--cert {cert}", chain)
        _require_key(f"--key {key}", chain, private_key)
    return grpc.ssl_channel_credentials(authorities, private_key, chain)


def _read_file(flag: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{flag} {path}: {error.strerror}", USAGE_ERROR) from None
    if len(content) > _MAX_BYTES:
        raise CommandError(
            f"{flag} {path}: is longer than {_MAX_BYTES:,} bytes, so it is no PEM file of ours",
            USAGE_ERROR,
        )
    return content


def _require_certificates(name: str, content: bytes) -> None:
    try:
        text = content.decode("ascii", "ignore")  # comments may be anything
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise CommandError(f"{name}: has no certificate in PEM", USAGE_ERROR) from None


def _require_key(name: str, chain: bytes, key: bytes) -> None:
    """Raise CommandError unless the key is one in PEM, without password, of the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with ExitStack() as stack:
        chain_file = stack.enter_context(_open_in_memory(chain))
        key_file = stack.enter_context(_open_in_memory(key))
        try:
            # without a password here, OpenSSL would ask for one
            context.load_cert_chain(chain_file, key_file, password="")
        except ssl.SSLError:
            raise CommandError(
                f"{name}: is not the key of --cert, in PEM and without a password", USAGE_ERROR
            ) from None


@contextmanager
def _open_in_memory(content: bytes) -> Iterator[str]:
    """Yield the name of a file that is on no disk: OpenSSL reads keys from files only."""
    descriptor = os.memfd_create("pem")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{descriptor}"
