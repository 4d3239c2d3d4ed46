"""Options of the connection between a device and its shard."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

from constellation_settop.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation_settop.network.global_keys import GlobalKeys
    from constellation_settop.network.identity import DeviceIdentity

MIN_SYNC_SECONDS: Final = 1.0
"""The shortest time that a host's program may set between two syncs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsSettings:
    """Keys and certificates of an encrypted connection, PEM-encoded.

    Example: `TlsSettings(root_certificates=Path("ca.pem").read_bytes())`
    """

    root_certificates: bytes | None = None
    """Certificates of the authorities to trust. None means those that gRPC ships with."""
    private_key: bytes | None = field(default=None, repr=False)
    """The device's own key. None when the server asks for no client certificate."""
    certificate_chain: bytes | None = None
    """The device's own certificate. Needed if and only if there is a private key."""

    def __post_init__(self) -> None:
        """Raise InvalidArgumentError when only one of private key and certificate is given."""
        if (self.private_key is None) != (self.certificate_chain is None):
            raise InvalidArgumentError(
                "private_key and certificate_chain must be given together or not at all"
            )


@dataclass(frozen=True, kw_only=True)
class SyncSettings:
    """How a device connects to its shard. The defaults suit a device that is always online."""

    stay_connected: bool = True
    """Keep a stream open. If False, sync at intervals: one call, and no connection in between."""
    sync_every_seconds: float | None = None
    """How long a device that does not stay connected waits between two syncs, give or take a half.

    None means the interval of the shard, which is 600 seconds unless its operator chose another.
    """
    backoff_base_seconds: float = 1.0
    """Upper bound of the delay after the first failure. It doubles with each further one."""
    backoff_cap_seconds: float = 300.0
    """Upper bound of the delay after any number of failures."""
    close_timeout_seconds: float = 2.0
    """How long closing may wait for the acks of deltas in flight."""
    credential: str | None = field(default=None, repr=False)
    """Sent with each call as a bearer token. None sends no credential."""
    identity: DeviceIdentity | None = None
    """Used in place of a `credential`: gets tokens from the shard, and renews them."""
    tls: TlsSettings | None = None
    """None means a connection in clear text."""
    global_keys: GlobalKeys | None = None
    """The federation's keys: an update with popular content that none of them signed is refused,
    and the device goes on with what it has. None checks no signature."""
    on_ack: Callable[[int, float], None] | None = None
    """Called for each acked delta with its seq, and the seconds from its frame to its ack.

    It runs in the event loop and must return at once.
    """
    traceparent: Callable[[], str | None] = lambda: None
    """Called when a stream or an exchange begins.

    It returns a W3C Trace Context `traceparent`, or None for no trace.
    """
    random: Random = field(default_factory=Random)
    """Source of jitter. Pass a seeded one to make delays repeatable."""

    def __post_init__(self) -> None:
        """Raise InvalidArgumentError for a credential and an identity, or a bad interval."""
        if self.credential is not None and self.identity is not None:
            raise InvalidArgumentError("credential and identity must not be given together")
        seconds = self.sync_every_seconds
        if seconds is not None and not MIN_SYNC_SECONDS <= seconds < math.inf:
            raise InvalidArgumentError(
                f"sync_every_seconds must be at least {MIN_SYNC_SECONDS:g}, got {seconds}"
            )
