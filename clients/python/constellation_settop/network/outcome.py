"""What a session tells its owner: what happens on the way, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def _ignore(*_: object) -> None:
    return None


@dataclass(frozen=True, slots=True)
class SessionHooks:
    """What is called as a session proceeds; they must return at once."""

    on_ack: Callable[[int, float], None] = _ignore
    """seq, and seconds from the frame to its ack."""
    on_global: Callable[[], None] = _ignore
    """The outbox holds a new global state."""
    on_welcome: Callable[[], None] = _ignore


@dataclass(frozen=True, slots=True)
class SessionOutcome:
    """How a session ended, and when to come back."""

    reason: str
    delay_seconds: float | None = None
    """As the shard asked; None leaves it to the back-off."""
    address: str | None = None
    """Another shard to go to."""
    is_in_sync: bool = False
    """All was exchanged: the delay is an interval, which new deltas may cut short."""
