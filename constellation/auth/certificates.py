"""Certificates: a server's certificate and private key, read again when their files change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from constellation.auth.files import ReloadedFiles, read_limited, require_secret
from constellation.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class _Presented:
    key: bytes = field(repr=False)
    """PEM, like the others."""
    chain: bytes
    authorities: bytes | None
    """Of clients; None when they need no certificate."""


class Certificates:
    """The certificate chain and the key that a server presents.

    Every new connection gets the present ones, so that a renewed certificate needs no restart.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        """Read the files.

        Args:
            certificate: the certificate chain, PEM.
            key: its private key, PEM.
            client_ca: the authorities of clients, PEM: a client then needs a certificate of one of
                them. None asks clients for none.

        Raises ConfigError when a file is wrong.
        """
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        paths = [path for path in (certificate, key, client_ca) if path is not None]
        self._files = ReloadedFiles(paths, self._read, interval_seconds=0)
        self._presented = self._files.get()
        """What new connections get."""

    @property
    def reload_problem(self) -> str:
        """Why the present files are not in use, and the former ones still are; "" when they are."""
        self._files.get()
        return self._files.problem

    @property
    def expires_at(self) -> float:
        """When the certificate in use expires, in seconds since 1970."""
        return x509.load_pem_x509_certificates(self._files.get().chain)[
            0
        ].not_valid_after_utc.timestamp()

    def to_server_credentials(self) -> grpc.ServerCredentials:
        """Return credentials that look at the files at every handshake."""
        fetch: Any = self._fetch_changed  # the stubs do not know that None keeps the present one
        return grpc.dynamic_ssl_server_credentials(
            _to_configuration(self._presented),
            fetch,
            require_client_authentication=self._client_ca is not None,
        )

    def to_channel_credentials(self, authorities: bytes) -> grpc.ChannelCredentials:
        """Return credentials that present this certificate to servers of some authorities, PEM.

        They are made of what was read and proven before: the files may be half written now.
        """
        present = self._files.get()
        return grpc.ssl_channel_credentials(authorities, present.key, present.chain)

    def _fetch_changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the certificate that is new since the last handshake; None to keep it.

        It runs for every connection, and parsing a key takes up to 200 ms: so only after a change.
        """
        present = self._files.get()
        if present == self._presented:
            return None
        self._presented = present
        return _to_configuration(present)

    def _read_authorities(self) -> bytes | None:
        """Return the certificates of the clients' authorities. Raises ConfigError for no PEM."""
        if self._client_ca is None:
            return None
        try:
            text = read_limited(self._client_ca)
            x509.load_pem_x509_certificates(text)
        except OSError as error:
            raise ConfigError(
                f"CLIENT_CA: cannot read {error.filename}: {error.strerror}"
            ) from error
        except ValueError as error:
            raise ConfigError(f"CLIENT_CA: {self._client_ca} is no PEM file: {error}") from error
        return text

    def _read(self) -> _Presented:
        """Return the files' content. Raises ConfigError when key and certificate do not match."""
        require_secret(self._key)
        try:
            key, chain = read_limited(self._key), read_limited(self._certificate)
        except OSError as error:
            raise ConfigError(
                f"TLS_CERT and TLS_KEY: cannot read {error.filename}: {error.strerror}"
            ) from error
        try:
            public = load_pem_private_key(key, None).public_key()
            certified = x509.load_pem_x509_certificates(chain)[0].public_key()
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"TLS_CERT and TLS_KEY: {self._certificate} or {self._key} is no PEM file: {error}"
            ) from error
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if public.public_bytes(*form) != certified.public_bytes(*form):
            raise ConfigError(
                f"TLS_KEY: {self._key} is not the key of the certificate {self._certificate}"
            )
        return _Presented(key, chain, self._read_authorities())


def _to_configuration(presented: _Presented) -> grpc.ServerCertificateConfiguration:
    pair = (presented.key, presented.chain)
    return grpc.ssl_server_certificate_configuration([pair], presented.authorities)
