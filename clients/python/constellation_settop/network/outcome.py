"""What a session tells its owner: what happens on the way, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def _nothing(*_: object) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Hooks:
    """What is called as a session proceeds; they must return at once."""

    on_ack: Callable[[int, float], None] = _nothing
    """seq, and seconds from the frame to its ack."""
    on_global: Callable[[], None] = _nothing
    """The outbox holds a new global state."""
    on_welcome: Callable[[], None] = _nothing


@dataclass(frozen=True, slots=True)
class Parting:
    """How a session ended, and when to come back."""

    why: str
    delay_seconds: float | None = None
    """As the shard asked; None leaves it to the back-off."""
    address: str | None = None
    """Another shard to go to."""
    in_step: bool = False
    """All was exchanged: the delay is an interval, which new deltas may cut short."""
