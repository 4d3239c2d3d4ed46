"""Security: how a process knows its callers, by certificates and tokens, or INSECURE."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from constellation.auth.certificates import Certificates
from constellation.auth.enrolment import TokenIssuer
from constellation.auth.global_signatures import HeaderVerifier
from constellation.auth.key_file import KeyFile
from constellation.auth.revocations import RevokedDevices
from constellation.auth.tokens import TokenVerifier
from constellation.errors import ConfigError
from constellation.loopback import is_loopback
from constellation.v1 import health_pb2 as pb
from constellation.wall_clock import read_clock

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

MIN_CERTIFICATE_DAYS: Final = 7
"""A certificate that expires sooner degrades the health."""
_SECONDS_PER_DAY: Final = 86_400


class SecurityConfig(Protocol):
    """The settings that a shard and a federation have in common."""

    @property
    def grpc_addr(self) -> str: ...
    @property
    def tls_cert(self) -> Path | None: ...
    @property
    def tls_key(self) -> Path | None: ...
    @property
    def token_keys(self) -> Path | None: ...
    @property
    def token_audience(self) -> str: ...
    @property
    def insecure(self) -> bool: ...
    @property
    def revoked_devices(self) -> Path | None: ...
    @property
    def global_keys(self) -> Path | None: ...


class ShardSecurityConfig(SecurityConfig, Protocol):
    """The further settings of a shard, to which devices connect."""

    @property
    def internal_addr(self) -> str | None: ...
    @property
    def client_ca(self) -> Path | None: ...
    @property
    def vendor_keys(self) -> Path | None: ...
    @property
    def device_token_seconds(self) -> float: ...


def require_security(config: SecurityConfig) -> None:
    """Raise ConfigError unless the process is secure, or INSECURE says that it need not be.

    Warns of what is missing, unless only this machine can reach the process.
    """
    missing = [
        text
        for is_missing, text in (
            (config.tls_cert is None, "TLS_CERT and TLS_KEY are unset: gRPC is in clear text"),
            (config.token_keys is None, "TOKEN_KEYS is unset: everybody may call everything"),
        )
        if is_missing
    ]
    if not missing:
        return
    if not config.insecure:
        raise ConfigError(
            f"{'; '.join(missing)}. Set them (docs/security.md), or INSECURE=1 to start without"
        )
    if not is_loopback(config.grpc_addr):
        for problem in missing:
            log.warning("insecure", problem=problem, grpc_addr=config.grpc_addr)


@dataclass(frozen=True, slots=True)
class Security:
    """How a process knows its callers, and proves who it is; each part may be missing."""

    certificates: Certificates | None = None
    """For TLS on GRPC_ADDR."""
    token_keys: KeyFile | None = None
    """For the tokens of callers."""
    global_keys: KeyFile | None = None
    """For the signatures of global states."""
    revoked: RevokedDevices = field(default_factory=RevokedDevices)
    """The devices that are refused."""
    verifier: TokenVerifier | None = None
    """Verifies tokens with `token_keys`."""

    def make_header_verifier(self) -> HeaderVerifier | None:
        """Return the check of who signed a global state; None accepts one from everybody."""
        return None if self.global_keys is None else HeaderVerifier(self.global_keys)

    def read_expiry(self) -> float | None:
        """Return when the certificate in use expires, in seconds since 1970; None without one."""
        return None if self.certificates is None else self.certificates.expires_at

    def describe(self) -> list[pb.ComponentHealth]:
        """Return the health of the certificate and of the keys of tokens, if there are any."""
        components = []
        if self.certificates is not None:
            days = (self.certificates.expires_at - read_clock()) / _SECONDS_PER_DAY
            problem = self.certificates.reload_problem
            expiry = f"expires in {days:.0f} days" if days > 0 else "has expired"
            message = f"{expiry}; the new files are not used: {problem}" if problem else expiry
            is_degraded = bool(problem) or days < MIN_CERTIFICATE_DAYS
            components.append(_make_component("certificate", message, is_degraded=is_degraded))
        for name, keys in (("token_keys", self.token_keys), ("global_keys", self.global_keys)):
            if keys is not None:
                components.append(_describe_keys(name, keys))
        if problem := self.revoked.reload_problem:
            message = f"the new file is not used: {problem}"
            components.append(_make_component("revoked_devices", message, is_degraded=True))
        return components


def _describe_keys(name: str, keys: KeyFile) -> pb.ComponentHealth:
    count, problem = len(keys.read().keys), keys.reload_problem
    message = f"{count} keys" if count != 1 else "1 key"
    if problem:
        message = f"{message}; the new file is not used: {problem}"
    return _make_component(name, message, is_degraded=bool(problem))


def _make_component(name: str, message: str, *, is_degraded: bool) -> pb.ComponentHealth:
    status = pb.HEALTH_STATUS_DEGRADED if is_degraded else pb.HEALTH_STATUS_HEALTHY
    return pb.ComponentHealth(name=name, status=status, message=message)


def open_security(config: SecurityConfig) -> Security:
    """Read the certificates and the keys that the settings name. Raises ConfigError."""
    keys = open_key_file(config.token_keys, "TOKEN_KEYS")
    try:
        revoked = RevokedDevices(config.revoked_devices)
    except ConfigError as error:
        raise ConfigError(f"REVOKED_DEVICES: {error}") from error
    return Security(
        open_certificates(config),
        keys,
        open_key_file(config.global_keys, "GLOBAL_KEYS", must_be_public=True),
        revoked,
        None if keys is None else TokenVerifier(keys, config.token_audience, revoked),
    )


def open_certificates(config: SecurityConfig) -> Certificates | None:
    """Return the certificate and key of a process; None without them. Raises ConfigError."""
    if config.tls_cert is None and config.tls_key is None:
        return None
    if config.tls_cert is None or config.tls_key is None:
        raise ConfigError("TLS_CERT and TLS_KEY must be set together, or neither")
    return Certificates(config.tls_cert, config.tls_key)


def open_token_issuer(config: ShardSecurityConfig, security: Security) -> TokenIssuer | None:
    """Return the issuer of tokens for devices; None without VENDOR_KEYS. Raises ConfigError."""
    vendors = open_key_file(config.vendor_keys, "VENDOR_KEYS", must_be_public=True)
    if vendors is None:
        return None
    if security.token_keys is None:
        raise ConfigError("VENDOR_KEYS needs TOKEN_KEYS: their first key signs the tokens")
    return TokenIssuer(
        security.token_keys,
        vendors,
        security.revoked,
        config.token_audience,
        config.device_token_seconds,
    )


def open_key_file(
    path: Path | None, variable: str, *, must_be_public: bool = False
) -> KeyFile | None:
    """Read the keys that a variable names; None when it is unset. Raises ConfigError."""
    if path is None:
        return None
    try:
        return KeyFile(path, must_be_public=must_be_public)
    except ConfigError as error:
        raise ConfigError(f"{variable}: {error}") from error


def open_internal_certificates(config: ShardSecurityConfig) -> Certificates | None:
    """Return the certificates for INTERNAL_ADDR; None for clear text. Raises ConfigError."""
    if config.client_ca is None:
        return open_certificates(config)
    if config.tls_cert is None or config.tls_key is None or config.internal_addr is None:
        raise ConfigError("CLIENT_CA needs INTERNAL_ADDR, TLS_CERT and TLS_KEY")
    return Certificates(config.tls_cert, config.tls_key, config.client_ca)
