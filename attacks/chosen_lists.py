"""A shard that chooses what devices are sent: what does it learn, and what can it make of them?

It sends related content, similar patterns, clusters and trends of films of its choice. A device
declares the rows of related content that it holds, so that it is sent only changes: what it drops
of them must not depend on what its household watched and kept to itself.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attacks.game import score_advantage, score_share
from attacks.hostile_shard import open_device, serve_hostile_shard
from attacks.made_up import make_pattern
from attacks.results import Goal, Outcome
from constellation.v1 import patterns_pb2 as patterns
from constellation_settop import GlobalKeys, RankingWeights, View
from constellation_settop.columns import from_patterns
from testing.catalogue import load_catalogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from attacks.hostile_shard import HostileShard
    from constellation_settop import Device

CHOSEN_ROWS: Final = Goal(
    "chosen_rows",
    "as a shard, send devices related content of two films, and tell which one a household had "
    "watched and kept to itself, once it makes its device forget it (protection off: devices that "
    "drop only the rows of what is forgotten)",
    "advantage",
    reach=0.02,
    least=0.9,
)
CHOSEN_FILM: Final = Goal(
    "chosen_film",
    "as a shard, make devices recommend a film of its choice among the first ten, by made-up "
    "related content, similar patterns, clusters and trends (protection on: devices that rank by "
    "what is signed and their own views alone, `RankingWeights.only_signed()`)",
    "devices that recommend it",
    reach=0.0,
    least=1.0,
)
TRIALS: Final = 96
DEVICES: Final = 24
_LIKED: Final = View("", 1.0, 1.0)
_DISLIKED: Final = View("", 0.05, 0.0)
_SECONDS: Final = 30.0
_SEED: Final = 15
_PREFIX_BYTES: Final = 8
_ID_BYTES: Final = 16
_FIRST: Final = 10
"""Recommendations that a viewer sees at once."""


async def run_alone() -> list[tuple[Outcome, Outcome]]:
    """Return for each goal what is reached without the protection, and with it."""
    return [
        (await _watch_rows(is_protected=False), await _watch_rows(is_protected=True)),
        (await _push_film(RankingWeights()), await _push_film(RankingWeights.only_signed())),
    ]


async def _watch_rows(*, is_protected: bool) -> Outcome:
    """Let households watch one of two films and forget it; guess which from what they declare."""
    random = Random(_SEED)  # noqa: S311  # no secret
    liked, *pair = _choose_films(3)
    update = patterns.GlobalUpdate(nonce=1, related=_make_rows([liked, *pair]), related_count=3)
    coins = [True, False] * (TRIALS // 2)
    random.shuffle(coins)
    values = []
    async with serve_hostile_shard(update) as (shard, address):
        for is_first in coins:
            async with _make_device(address) as device:
                device.observe(replace(_LIKED, content_id=liked))
                device.observe(replace(_DISLIKED, content_id=pair[0 if is_first else 1]))
                await device.flush(_SECONDS)
                await _forget(device, pair[0 if is_first else 1], is_protected=is_protected)
                shard.hellos.clear()
                shard.deltas.clear()
                await device.flush(_SECONDS)
                values.append(_guess(shard, pair))
    return Outcome(CHOSEN_ROWS, score_advantage(values, coins))


async def _forget(device: Device, film: str, *, is_protected: bool) -> None:
    """Forget a film; without protection, hold the rows of all others as before."""
    before = device.outbox.global_state.related
    device.forget(film)
    if not is_protected:
        kept = {row_id: row for row_id, row in before.items() if row.content_id != film}
        device.outbox.save_global_state(replace(device.outbox.global_state, related=kept))


def _guess(shard: HostileShard, pair: Sequence[str]) -> float:
    """Return a positive number for the first film, and a negative one for the second.

    A film is suspect when a device no longer declares its row, or names it in any delta.
    """
    held = shard.hellos[0].held_related_ids
    prefixes = {held[start : start + _PREFIX_BYTES] for start in range(0, len(held), _ID_BYTES)}
    told = {
        name
        for delta in shard.deltas
        for names in (
            delta.signals.content_ids,
            delta.liked_content_ids,
            delta.withdrawn_content_ids,
            delta.upserts.content_ids,
        )
        for name in names
    }
    first, second = (_to_prefix(film) not in prefixes or film in told for film in pair)
    return float(first) - float(second)


async def _push_film(weights: RankingWeights) -> Outcome:
    """Send everything that a shard can make up for a film; return how many devices show it."""
    liked, chosen = _choose_films(2)
    films = load_catalogue()
    rows = {film.content_id: row for row, film in enumerate(films.films)}
    pattern = from_patterns([make_pattern(films.embeddings[rows[liked]], content_ids=[chosen])])
    update = patterns.GlobalUpdate(
        nonce=1,
        related=_make_rows([liked], chosen),
        related_count=1,
        similar=pattern,
        similarities=[1.0],
        similar_count=1,
        clusters=pattern,
        cluster_count=1,
        trends=[patterns.Trend(content_id=chosen, score=1e6)],
        trend_count=1,
    )
    keys = GlobalKeys({"federation": Ed25519PrivateKey.generate().public_key().public_bytes_raw()})
    showing = 0
    async with serve_hostile_shard(update) as (_, address):
        for _ in range(DEVICES):
            async with _make_device(address, keys, weights) as device:
                device.observe(replace(_LIKED, content_id=liked))
                await device.flush(_SECONDS)
                shown = [each.content_id for each in device.recommend(limit=_FIRST)]
                showing += chosen in shown
    return Outcome(CHOSEN_FILM, score_share(showing, DEVICES))


@asynccontextmanager
async def _make_device(
    address: str, keys: GlobalKeys | None = None, weights: RankingWeights | None = None
) -> AsyncIterator[Device]:
    with TemporaryDirectory(prefix="chosen-") as folder:
        async with open_device(address, folder, keys, weights) as device:
            yield device


def _choose_films(count: int) -> list[str]:
    """Return films that have nothing to do with each other."""
    films = load_catalogue()
    chosen = [0]
    while len(chosen) < count:
        nearness = (films.embeddings @ films.embeddings[chosen].T).max(axis=1)
        chosen.append(int(np.argmin(nearness)))
    return [films.films[row].content_id for row in chosen]


def _make_rows(contents: Sequence[str], neighbour: str | None = None) -> patterns.RelatedRows:
    """Return a row of each content item, with one neighbour: another one of them, unless named."""
    names = [*contents, *([neighbour] if neighbour else ())]
    count = len(contents)
    return patterns.RelatedRows(
        ids=b"".join(_to_prefix(each) + bytes(_ID_BYTES - _PREFIX_BYTES) for each in contents),
        content_ids=names,
        contents=range(count),
        neighbour_counts=bytes([1] * count),
        neighbours=[count if neighbour else (row + 1) % count for row in range(count)],
        weights=bytes([127] * count),
        shifts=bytes(count),
    )


def _to_prefix(content_id: str) -> bytes:
    """Return how the id of a row of a content item begins."""
    return sha256(content_id.encode()).digest()[:_PREFIX_BYTES]
