"""The suite: every attack in a world without protection, then in a protected one."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from attacks import (
    canaries,
    chosen_lists,
    clusters,
    crowd,
    epochs,
    forged_global,
    forged_popular,
    hostile_shard,
    inversion,
    membership,
    withdrawal,
)
from attacks.results import Line
from attacks.world import OFF, ON, start_world

if TYPE_CHECKING:
    from attacks.results import Outcome
    from attacks.world import Protection, World
    from quality.split import Household

Attack = Callable[["World"], Awaitable["Sequence[Outcome]"]]
ATTACKS: Final[Sequence[Attack]] = (
    inversion.run,
    crowd.run,
    clusters.run,
    membership.run,
    epochs.run,
    canaries.run,
    canaries.run_differences,
)
"""In an order in which none disturbs the next."""
SHORT_ATTACKS: Final[Sequence[Attack]] = (inversion.run, crowd.run, membership.run, canaries.run)
"""Those of the short form, which `make check` runs."""


async def run_suite(
    households: Sequence[Household], attacks: Sequence[Attack] = ATTACKS
) -> list[Line]:
    """Run every attack against devices of these households; return a line for each goal."""
    unprotected, _ = await _attack(OFF, households, attacks)
    protected, lines = await _attack(ON, households, attacks)
    lines = [
        *(
            Line(off.goal, off.score, on.score)
            for off, on in zip(unprotected, protected, strict=True)
        ),
        *lines,
    ]
    alone = [
        *await hostile_shard.run_alone(households),
        *await forged_popular.run_alone(),
        *await chosen_lists.run_alone(),
        *await forged_global.run_alone(),
    ]
    return [*lines, *(Line(off.goal, off.score, on.score) for off, on in alone)]


async def _attack(
    protection: Protection, households: Sequence[Household], attacks: Sequence[Attack]
) -> tuple[list[Outcome], list[Line]]:
    outcomes: list[Outcome] = []
    lines: list[Line] = []
    started = time.monotonic()
    async with start_world(protection, households) as world:
        _report(protection, "the world runs", started)
        for attack in attacks:
            found = await attack(world)
            outcomes += found
            _report(protection, ", ".join(each.goal.name for each in found), started)
        if protection is ON:
            before, after = await withdrawal.run_protected(world)
            lines.append(Line(before.goal, before.score, after.score))
    return outcomes, lines


def _report(protection: Protection, what: str, started: float) -> None:
    print(f"protection {protection.name}, {time.monotonic() - started:.0f} s: {what}", flush=True)
