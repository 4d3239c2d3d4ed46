"""What a session reports to its owner: progress on the way, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def _ignore(*_: object) -> None:
    return None


@dataclass(frozen=True, slots=True)
class SessionHooks:
    """Functions that a session calls as it proceeds. They must return at once."""

    on_ack: Callable[[int, float], None] = _ignore
    """Called for each acked delta with its seq, and the seconds from its frame to its ack."""
    on_rejection: Callable[[str], None] = _ignore
    """Called for each pattern that the shard did not store, with the reason."""
    on_global: Callable[[], None] = _ignore
    """Called after the outbox has stored a new global state."""
    on_welcome: Callable[[], None] = _ignore
    """Called after the shard has accepted the session."""


@dataclass(frozen=True, slots=True)
class SessionOutcome:
    """How a session ended, and when and where to connect again."""

    reason: str
    """Why it ended, for a log or an error message."""
    delay_seconds: float | None = None
    """The delay that the shard asked for. None leaves it to the back-off."""
    address: str | None = None
    """Address of another shard to connect to."""
    is_in_sync: bool = False
    """Everything was exchanged. The delay is then an interval, which `sync_soon` cuts short."""
