"""Principal: who makes a call, and the check that a device acts in its own name only."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from constellation.errors import PermissionDeniedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address, IPv6Address


class Role(StrEnum):
    """What a caller is; a token names one or more."""

    DEVICE = "device"
    """One set-top device, which acts in its own name only."""
    FEEDER = "feeder"
    """Adds content items to catalogues."""
    FEDERATION = "federation"
    """Pulls aggregates and publishes the global state."""
    OPERATOR = "operator"
    """Runs shards and federations, and may look at the patterns of a household."""
    VIEWER = "viewer"
    """Reads what belongs to no household: statistics, trends, clusters, rounds."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a call."""

    subject: str
    """The name in the token: a device id in hex digits, or the name of a person or a process."""
    roles: frozenset[Role]
    expires_at: float | None = None
    """When the token stops being accepted, in seconds since 1970; None for never."""
    is_revoked: Callable[[], bool] = lambda: False
    """Returns whether the key of the token is gone, or the device was revoked."""
    verify: Callable[[str], Principal] | None = None
    """Verifies a newer token of the same caller; None where nobody needs a token."""
    lot: str = ""
    """The production lot of a device, as its vendor names it; empty when unknown."""

    def seconds_left(self, now: float) -> float | None:
        """Return how long the token is still valid at a time; None for no end."""
        return None if self.expires_at is None else self.expires_at - now


ANYBODY: Final = Principal("anybody", frozenset(Role))
"""The caller in a process without TOKEN_KEYS, which asks nobody for a token."""
CALLER: ContextVar[Principal] = ContextVar("constellation_caller", default=ANYBODY)
"""The caller of the call that the present task serves."""
CALLER_ADDRESS: ContextVar[IPv4Address | IPv6Address | None] = ContextVar(
    "constellation_caller_address", default=None
)
"""The address of that caller; None when it is unknown."""


def require_role(caller: Principal, role: Role) -> None:
    """Raise PermissionDeniedError unless a caller has a role."""
    if role not in caller.roles:
        raise PermissionDeniedError(f"the token of {caller.subject!r} lacks the role {role.value}")


def require_own_device(device_id: bytes, caller: Principal | None = None) -> None:
    """Raise PermissionDeniedError unless the caller is this device.

    The answer is the same for a device that exists and one that does not. By default, the caller is
    that of the present call.
    """
    caller = caller or CALLER.get()
    if caller is not ANYBODY and caller.subject != device_id.hex():
        raise PermissionDeniedError(
            f"the token belongs to {caller.subject!r}, which is not the device that the message "
            "names"
        )
