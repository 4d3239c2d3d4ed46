"""A certificate authority for a fleet that has none: it signs the certificates of its servers."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from constellation.auth.files import read_limited, require_secret
from constellation.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

AUTHORITY_CERTIFICATE: Final = "ca.pem"
AUTHORITY_KEY: Final = "ca.key"
_USES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
"""A federation presents its certificate to shards with CLIENT_CA, too."""
_MAX_COMMON_NAME: Final = 64
"""RFC 5280, appendix A: ub-common-name."""
_MAX_HOST_NAME: Final = 253
_HOST_NAME: Final = re.compile(r"(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_SKEW: Final = timedelta(hours=1)
"""Certificates are valid from this long ago, because clocks differ."""


def make_authority(folder: Path, name: str, days: float) -> None:
    """Write the certificate and the key of a new authority into a folder.

    Raises ConfigError when there is one already, and for a name that is too long.
    """
    if not 1 <= len(name) <= _MAX_COMMON_NAME:
        raise ConfigError(
            f"the name of an authority has 1 to {_MAX_COMMON_NAME} characters, got {len(name)}"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _begin(subject, subject, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_make_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make {folder}: {error.strerror}") from error
    _write_new(folder / AUTHORITY_KEY, _to_pem(key), 0o600)
    _write_new(folder / AUTHORITY_CERTIFICATE, certificate.public_bytes(Encoding.PEM), 0o644)


def issue_certificate(folder: Path, names: Sequence[str], file_name: str, days: float) -> None:
    """Write a server's certificate for some host names and addresses, and its key.

    They are FILE_NAME.pem and FILE_NAME.key in the folder of the authority; earlier ones are
    replaced, and servers then use the new ones. Raises ConfigError without an authority, and
    for a name that is no host name or address.
    """
    names_of_server = x509.SubjectAlternativeName([_to_name(each) for each in names])
    authority, signer = _read_authority(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    is_short = len(names[0]) <= _MAX_COMMON_NAME
    # A longer name stands in the extension alone, which RFC 5280, 4.2.1.6, then wants critical.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])] if is_short else [])
    certificate = (
        _begin(subject, authority.subject, key.public_key(), days)
        .add_extension(names_of_server, critical=not is_short)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_make_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USES), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA256())
    )
    chain = certificate.public_bytes(Encoding.PEM) + authority.public_bytes(Encoding.PEM)
    _replace(folder / f"{file_name}.key", _to_pem(key), 0o600)
    _replace(folder / f"{file_name}.pem", chain, 0o644)


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _make_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _to_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        pass
    if len(text) > _MAX_HOST_NAME or not _HOST_NAME.fullmatch(text):
        raise ConfigError(
            f"{text[:80]!r} is no host name or IP address: a name has letters, digits, hyphens "
            f"and dots, 63 characters between two dots and {_MAX_HOST_NAME} in all; write other "
            "letters in their xn-- form"
        )
    return x509.DNSName(text)


def _to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    require_secret(folder / AUTHORITY_KEY)
    try:
        certificate = x509.load_pem_x509_certificate(read_limited(folder / AUTHORITY_CERTIFICATE))
        key = load_pem_private_key(read_limited(folder / AUTHORITY_KEY), None)
    except OSError as error:
        raise ConfigError(
            f"cannot read {error.filename}: {error.strerror}; make an authority with "
            "`constellation ca new`"
        ) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{folder} holds no authority: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{folder / AUTHORITY_KEY} is not a key that `constellation ca new` made")
    return certificate, key


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists: a new authority would lock out all that trust it"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _replace(path: Path, data: bytes, mode: int) -> None:
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        _write_new(partial, data, mode)
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
