"""Related and popular content of a round, computed from what all shards count of liked content."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.likes import DictionaryKey
from federation.related.dictionary import NO_DICTIONARY, Dictionary, revise_dictionary
from federation.related.popular import make_lists
from federation.related.rows import keep_unchanged, make_rows
from federation.related.shard_likes import count_at
from federation.related.shared_pairs import find_shared
from federation.related.solve import solve_weights, sum_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from constellation.federated.fixed_point import Integers
    from federation.related.popular import PopularList
    from federation.related.rows import RelatedRow
    from federation.related.shard_likes import ShardLikes


@dataclass(frozen=True, slots=True, kw_only=True)
class RelatedRules:
    """The settings that decide related and popular content."""

    interval_seconds: float = 86_400.0
    """Seconds between two pulls of likes; 0 pulls them in each round."""
    dictionary_limit: int = 5_000
    neighbour_limit: int = 64
    regularisation: float = 200.0
    min_households: int = 50
    """Households that must like everything that is published: a content item, and a pair."""


@dataclass(frozen=True, slots=True)
class RelatedState:
    """Related and popular content as last published."""

    dictionary: Dictionary = NO_DICTIONARY
    rows: Sequence[RelatedRow] = ()
    popular: Sequence[PopularList] = ()
    solved_at: float = 0.0
    """When rows were last solved with the pairs of every shard: seconds since 1970."""

    def needs_likes(self, now: float, interval_seconds: float) -> bool:
        """Return whether a round that begins at `now` should ask the shards for likes."""
        return not 0 <= now - self.solved_at < interval_seconds  # the clock may have been ahead


@dataclass(frozen=True, slots=True, eq=False)
class RelatedInputs:
    """Everything that related and popular content is computed from, besides what was published."""

    shards: Sequence[tuple[str, ShardLikes]]
    """The region and the likes of each shard."""
    texts: Sequence[str]
    """The content ids of the numbers in them."""
    positions: Integers
    """The number of each content item of the present dictionary; -1 for one without a number."""
    generation: int
    """Names the federation's journal."""
    closed_at: float
    """When the pulls ended: seconds since 1970."""


@dataclass(frozen=True, slots=True, eq=False)
class RelatedResult:
    """The related and popular content of a round, and figures on how it came about."""

    state: RelatedState
    contributors: int = 0
    """Devices that contribute to it."""
    changed_row_count: int = 0
    """Rows that differ from those published before."""


def compute_related(
    inputs: RelatedInputs, known: RelatedState, rules: RelatedRules
) -> RelatedResult:
    """Return related and popular content: the same for the same shards in any order.

    Rows are solved from the shards that count pairs for the present dictionary, which changes only
    when all shards do: none is sent after a new one while it still counts for the last.
    """
    everywhere, regions = _count_households(inputs, rules.min_households)
    contributing = [likes for _, likes in inputs.shards if likes.contributors]
    key = DictionaryKey(inputs.generation, known.dictionary.version)
    current = [likes for likes in contributing if key.version and likes.dictionary == key]
    has_all = bool(current) and len(current) == len(contributing)
    if current:
        rows = _solve_rows(current, inputs.positions, known, rules)
    else:
        rows = _withdraw_rows(known.rows, everywhere)
    dictionary = known.dictionary
    if has_all or not dictionary.version:
        dictionary = revise_dictionary(dictionary, everywhere, rules.dictionary_limit)
    before = {row.content_id: row for row in known.rows}
    state = RelatedState(
        dictionary,
        rows,
        make_lists(everywhere, regions, known.popular, rules.min_households),
        inputs.closed_at if has_all else known.solved_at,
    )
    return RelatedResult(
        state,
        sum(likes.contributors for likes in contributing),
        sum(before.get(row.content_id) != row for row in rows),
    )


def _count_households(
    inputs: RelatedInputs, least: int
) -> tuple[Mapping[str, int], Mapping[str, Mapping[str, int]]]:
    """Return how many households like each content item, everywhere and by region.

    Content items that fewer than `least` households like are left out. Households of a shard do not
    count for `least` where they are of too few origins.
    """
    rows = np.arange(2)[:, None]

    def select_shared(counts: Integers) -> dict[str, int]:
        numbers = np.flatnonzero(counts[1] >= least).tolist()
        return {inputs.texts[number]: int(counts[0, number]) for number in numbers}

    everywhere = np.zeros((2, len(inputs.texts)), np.int64)
    regions = {}
    for region in sorted({region for region, _ in inputs.shards}):
        counts = np.zeros_like(everywhere)
        for each, likes in inputs.shards:
            if each == region:  # a shard has each content item once
                counts[rows, likes.contents] += [likes.devices, likes.count_supported()]
        regions[region] = select_shared(counts)
        everywhere += counts
    return select_shared(everywhere), regions


def _solve_rows(
    shards: Sequence[ShardLikes], positions: Integers, known: RelatedState, rules: RelatedRules
) -> list[RelatedRow]:
    """Return the rows of the content items of the dictionary, solved from the shards' pairs."""
    content_ids = known.dictionary.content_ids
    devices = np.zeros(len(content_ids), np.int64)
    for likes in shards:
        devices += count_at(likes, positions)
    gram = sum_pairs(devices, [likes.pairs for likes in shards])
    is_shared = find_shared(gram, [likes.pairs for likes in shards], rules.min_households)
    weights = solve_weights(gram, rules.regularisation)
    rows = make_rows(content_ids, weights, is_shared, rules.neighbour_limit)
    return keep_unchanged(rows, known.rows, content_ids, is_shared)


def _withdraw_rows(rows: Sequence[RelatedRow], shared: Mapping[str, int]) -> list[RelatedRow]:
    """Return the rows without content items that too few households like by now.

    For rounds in which no shard counts pairs for the present dictionary.
    """
    kept = []
    for row in rows:
        places = [place for place, each in enumerate(row.neighbours) if each in shared]
        if row.content_id in shared and places:
            kept.append(
                replace(
                    row,
                    neighbours=tuple(row.neighbours[place] for place in places),
                    codes=tuple(row.codes[place] for place in places),
                )
            )
    return kept
