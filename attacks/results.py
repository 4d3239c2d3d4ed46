"""What the suite found: one line for each attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attacks.game import Score


@dataclass(frozen=True, slots=True)
class Goal:
    """What an attack wants, and what it may reach."""

    name: str
    """For programs, such as "inversion"."""
    attack: str
    """What the attacker does and wants, for people."""
    measure: str
    """What the figure is."""
    reach: float | None
    """The most that it may reach with the protection on; None where no setting protects."""
    least: float
    """What it must reach with the protection off, so that it is known to work."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attack reached in one world."""

    goal: Goal
    score: Score
    note: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One attack, with the protection off and on."""

    goal: Goal
    off: Score
    on: Score

    @property
    def is_proven(self) -> bool:
        """Whether the attack works when nothing protects."""
        return self.off.value >= self.goal.least

    @property
    def is_held(self) -> bool:
        """Whether the protection holds."""
        return self.goal.reach is None or self.on.value <= self.goal.reach
