"""What a process needs to know who calls it: certificates, keys of tokens, or INSECURE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from constellation.auth.certificates import Certificates
from constellation.auth.tokens import TokenVerifier
from constellation.errors import ConfigError
from constellation.loopback import is_loopback

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)


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


def require_security(config: SecurityConfig) -> None:
    """Raise ConfigError unless the process is secure, or INSECURE says that it need not be.

    Warns of what is missing, unless only this machine can reach the process.
    """
    missing = [
        text
        for is_missing, text in (
            (config.tls_cert is None, "TLS_CERT and TLS_KEY are unset: everybody can listen"),
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


def open_certificates(config: SecurityConfig) -> Certificates | None:
    """Return the certificates of a process; None for clear text. Raises ConfigError."""
    if config.tls_cert is None and config.tls_key is None:
        return None
    if config.tls_cert is None or config.tls_key is None:
        raise ConfigError("TLS_CERT and TLS_KEY must be set together, or neither")
    return Certificates(config.tls_cert, config.tls_key)


def open_verifier(config: SecurityConfig) -> TokenVerifier | None:
    """Return what verifies tokens; None lets everybody in. Raises ConfigError for wrong keys."""
    if config.token_keys is None:
        return None
    return TokenVerifier(config.token_keys, config.token_audience)
