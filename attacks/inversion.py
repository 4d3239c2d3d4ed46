"""Inversion: from what devices are sent, recover the films behind a household's pattern."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np

from attacks.crawl import crawl_all
from attacks.game import Score, score_share
from attacks.results import Goal, Outcome
from attacks.world import K, name_household
from testing.viewings import LIKED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from attacks.world import World
    from constellation_settop.values import Pattern

EXACT: Final = Goal(
    "inversion",
    "decode every embedding that devices are sent, and name the exact set of films behind a "
    "household's pattern",
    "sets recovered",
    reach=0.01,
    least=0.7,
)
PARTIAL: Final = Goal(
    "partial_inversion",
    "name some of the films: more than one finds by naming those that are popular in this taste",
    "F1 beyond that of popularity",
    reach=0.02,
    least=0.2,
)
SHARE_THRESHOLD: Final = 0.8
"""Success rate from which a pattern may count for others: the default of SHARE_THRESHOLD."""
MAX_KNOWN_FILMS: Final = 15
"""A pattern names its last 16 films. With fewer, the referee knows all that are behind it."""
TOPIC_COSINE: Final = 0.52
"""Films as near as this to a pattern belong to its taste: how devices decide it, too."""
_OPTIMISM: Final = 1.96


async def run(world: World) -> list[Outcome]:
    """Attack every pattern of every household at once."""
    shown = list((await crawl_all(world)).values())
    secrets = _list_secrets(world)
    claims = [_claim_films(world, pattern) for pattern in shown]
    return [
        _score_exact(secrets, claims),
        _score_partial(world, secrets, shown, claims),
    ]


def _list_secrets(world: World) -> list[Pattern]:
    """Return the patterns that count for others, and of which the referee knows every film."""
    return [
        pattern
        for household in world.households
        for pattern in world.read_patterns(name_household(household))
        if pattern.success_rate >= SHARE_THRESHOLD
        and 0 < len(pattern.content_ids) <= MAX_KNOWN_FILMS
    ]


def _claim_films(world: World, pattern: Pattern) -> frozenset[str]:
    """Return the films that an attacker believes to be behind one pattern: its best guess.

    When few films explain the embedding it is they, and otherwise those with the largest parts, as
    many as the pattern's counts allow, with the films that it names itself.
    """
    decoded = world.decoder.decode(pattern.embedding)
    films = [world.films.films[row].content_id for row in decoded.rows.tolist()]
    if decoded.is_exact:
        return frozenset(films)
    likely = max(1, round(pattern.sample_count * pattern.success_rate))
    return frozenset([*pattern.content_ids, *films][: max(likely, len(pattern.content_ids))])


def _score_exact(secrets: Sequence[Pattern], claims: Iterable[frozenset[str]]) -> Outcome:
    """Return the share of households' sets that a claim names exactly.

    A set that at least K patterns have is theirs in common: it says nothing of one of them.
    """
    counts = Counter(frozenset(each.content_ids) for each in secrets)
    own = [each for each, count in counts.items() if count < K]
    claimed = set(claims)
    trials = sum(counts[each] for each in own)
    recovered = sum(counts[each] for each in own if each in claimed)
    return Outcome(EXACT, score_share(recovered, trials), f"{len(claimed)} claims")


def _score_partial(
    world: World,
    secrets: Sequence[Pattern],
    shown: Sequence[Pattern],
    claims: Sequence[frozenset[str]],
) -> Outcome:
    """Compare the claim of the nearest shown pattern with the popular films of the same taste.

    The attacker even knows which shown pattern is nearest to the household's. Popularity is that
    in the whole fleet, which is more than anybody knows, and it names as many films.
    """
    popularity = Counter(
        content_id
        for household in world.households
        for content_id in household.watched.content_ids[household.watched.ratings >= LIKED].tolist()
    )
    popular_rows = np.array([world.rows[content_id] for content_id, _ in popularity.most_common()])
    popular_films = [world.films.films[row].content_id for row in popular_rows.tolist()]
    embeddings = (
        np.stack([each.embedding for each in shown]) if shown else np.empty((0, 384), np.float32)
    )
    gains = []
    for secret in secrets:
        truth = set(secret.content_ids)
        claim: frozenset[str] = frozenset()
        if len(shown):
            claim = claims[int((embeddings @ secret.embedding).argmax())]
        in_taste = world.films.embeddings[popular_rows] @ secret.embedding >= TOPIC_COSINE
        guess = [popular_films[each] for each in np.flatnonzero(in_taste)[: len(truth)].tolist()]
        gains.append(_compute_f1(truth, claim) - _compute_f1(truth, set(guess)))
    mean = float(np.mean(gains))
    half = _OPTIMISM * float(np.std(gains)) / len(gains) ** 0.5
    return Outcome(PARTIAL, Score(mean, mean - half, mean + half, len(gains)))


def _compute_f1(truth: set[str], claim: set[str] | frozenset[str]) -> float:
    return 2 * len(truth & claim) / (len(truth) + len(claim))
