"""Differencing: subtract what is shown in two epochs, and decode what a household watched between.

The referee counts a film as recovered when the attacker names it. Films that would have joined the
patterns of other households, by the same rule, tell how often it does so without reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from attacks.game import score_advantage
from attacks.results import Goal, Outcome
from attacks.world import ACCOMPLICES

if TYPE_CHECKING:
    from attacks.revisions import Revisions
    from attacks.world import World
    from constellation_settop.values import Pattern

DIFFERENCING: Final = Goal(
    "differencing",
    f"subtract two epochs, with {ACCOMPLICES} accomplices who join, revise and delete themselves, "
    "and name what a household watched between them",
    "advantage",
    reach=0.02,
    least=0.8,
)
PARTNERS: Final = 5
"""Vanished patterns that an appeared one is compared with."""


def score(world: World, revisions: Revisions) -> Outcome:
    """Return how well films that were watched can be distinguished from others."""
    claims = {film for each in revisions.appeared for film in _name_films(world, revisions, each)}
    trials = revisions.trials
    values = [float(each.content_id in claims) for each in trials]
    advantage = score_advantage(values, [each.is_watched for each in trials])
    return Outcome(DIFFERENCING, advantage, f"{len(claims)} films named")


def _name_films(world: World, revisions: Revisions, appeared: Pattern) -> list[str]:
    """Return the films that an attacker sees in a pattern that is new: added, or behind it."""
    films = world.films.films
    decoded = world.decoder.decode(appeared.embedding)
    named = [films[row].content_id for row in decoded.rows.tolist()] if decoded.is_exact else []
    vanished = revisions.vanished
    if not vanished:
        return [*named, *appeared.content_ids]
    cosines = np.stack([each.embedding for each in vanished]) @ appeared.embedding
    for position in np.argsort(-cosines)[:PARTNERS].tolist():
        change = world.decoder.explain_change(vanished[position].embedding, appeared.embedding)
        if change.is_exact:
            named.append(films[int(change.rows[0])].content_id)
            break
    old = {film for each in vanished for film in each.content_ids}
    return [*named, *(film for film in appeared.content_ids if film not in old)]
