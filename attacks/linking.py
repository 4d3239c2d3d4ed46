"""Linking: follow one household over time.

What is shown stands for a household when its embedding is that of one of the household's patterns
and fewer than K households have that embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from attacks.game import score_share
from attacks.results import Goal, Outcome
from attacks.revisions import SAME_COSINE
from attacks.world import K

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attacks.revisions import Revision, Revisions
    from constellation_settop.values import Pattern

REVISIONS: Final = Goal(
    "linking_revisions",
    "find the next revision of what was shown of a household, by times and embeddings",
    "revisions linked",
    reach=0.01,
    least=0.5,
)


def score_revisions(revisions: Revisions) -> Outcome:
    """Return the share of changed patterns for which the attacker names the next revision."""
    watched = [each for each in revisions.trials if each.is_watched]
    right = 0
    for trial in watched:
        before = _find_shown(trial.before, revisions.vanished)
        after = _find_shown(_find_after(revisions, trial), revisions.appeared)
        if before is not None and after is not None:
            right += _guess_next(before, revisions.appeared) is after
    return Outcome(REVISIONS, score_share(right, len(watched)))


def _find_after(revisions: Revisions, trial: Revision) -> Pattern:
    return revisions.after[trial.household, trial.before.pattern_id]


def _find_shown(own: Pattern, shown: Sequence[Pattern]) -> Pattern | None:
    """Return what is shown of a household's pattern; None for nothing, or for K or more."""
    if not shown:
        return None
    cosines = np.stack([each.embedding for each in shown]) @ own.embedding
    same = np.flatnonzero(cosines >= SAME_COSINE)
    return shown[int(cosines.argmax())] if 0 < len(same) < K else None


def _guess_next(before: Pattern, appeared: Sequence[Pattern]) -> Pattern:
    """Return the pattern that an attacker believes to be the next revision."""
    same_age = [each for each in appeared if each.created_at == before.created_at] or appeared
    return max(same_age, key=lambda each: float(each.embedding @ before.embedding))
