"""What is published equals a centralised solve on everything that the households contributed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.likes import DictionaryKey
from federation.related.dictionary import Dictionary
from federation.related.popular import round_down
from federation.related.result import (
    RelatedInputs,
    RelatedResult,
    RelatedRules,
    RelatedState,
    compute_related,
)
from federation.related.rows import RelatedRow
from tests.federation.liked import count_likes, make_households, make_shard_likes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.related.shard_likes import ShardLikes
    from tests.federation.liked import Household

RULES = RelatedRules(dictionary_limit=30, neighbour_limit=12, regularisation=20, min_households=4)
CLOSED_AT = 1_800_000_000.0
PARTS = [make_households(count, seed) for seed, count in enumerate((120, 90, 200))]
REGIONS = ["north", "south", "north"]


def compute(
    parts: Sequence[Sequence[Household]],
    known: RelatedState,
    rules: RelatedRules = RULES,
    *,
    current: Sequence[bool] | None = None,
    order: Sequence[int] = (0, 1, 2),
) -> RelatedResult:
    """Return the result of shards with these households, in this order.

    `current` says which shards count pairs for the present dictionary.
    """
    texts: list[str] = []
    shards: list[tuple[str, ShardLikes]] = []
    for number in order[: len(parts)]:
        is_current = current is None or current[number]
        key = DictionaryKey(1, known.dictionary.version if is_current else 77)
        dictionary = known.dictionary.content_ids
        likes = make_shard_likes(parts[number], dictionary, texts=texts, key=key, shard_id=number)
        shards.append((REGIONS[number], likes))
    positions = np.array(
        [texts.index(each) if each in texts else -1 for each in known.dictionary.content_ids],
        np.int64,
    )
    return compute_related(RelatedInputs(shards, texts, positions, 1, CLOSED_AT), known, rules)


FIRST = compute(PARTS, RelatedState()).state


def solve_centrally(
    households: Sequence[Household], dictionary: Sequence[str], rules: RelatedRules = RULES
) -> list[RelatedRow]:
    """Return the rows of EASE on all households, written down as the paper has it."""
    names = sorted(dictionary)
    matrix = np.array([[each in household for each in names] for household in households], float)
    gram = matrix.T @ matrix
    inverse = np.linalg.inv(gram + rules.regularisation * np.eye(len(names)))
    rows = []
    for row, name in enumerate(names):
        weights = [-inverse[row, column] / inverse[column, column] for column in range(len(names))]
        allowed = [
            column
            for column in range(len(names))
            if column != row and gram[row, column] >= rules.min_households
        ]
        allowed.sort(key=lambda column: -abs(weights[column]))
        chosen = allowed[: rules.neighbour_limit]
        if not chosen:
            continue
        shift = max(s for s in range(31) if round(abs(weights[chosen[0]]) * 2**s) <= 127)
        codes = {column: round(weights[column] * 2**shift) for column in chosen}
        ordered = sorted((each for each in chosen if codes[each]), key=lambda c: (-codes[c], c))
        rows.append(
            RelatedRow(
                name,
                tuple(names[each] for each in ordered),
                tuple(codes[each] for each in ordered),
                shift,
            )
        )
    return rows


def sort_rows(state: RelatedState) -> list[RelatedRow]:
    return sorted(state.rows, key=lambda row: row.content_id)


def test_content_that_one_lot_likes_is_not_popular_and_the_solve_has_it_all_the_same() -> None:
    texts: list[str] = []
    shards = [make_shard_likes(part, texts=texts, shard_id=row) for row, part in enumerate(PARTS)]
    made_up = texts.index("film:7")
    lone = [
        replace(likes, unsupported=likes.contents == made_up) if row else likes
        for row, likes in enumerate(shards)
    ]

    def list_popular(parts: Sequence[ShardLikes], least: int) -> dict[str, int]:
        inputs = RelatedInputs(
            list(zip(REGIONS, parts, strict=True)), texts, np.empty(0, np.int64), 1, CLOSED_AT
        )
        rules = replace(RULES, min_households=least)
        everywhere = compute_related(inputs, RelatedState(), rules).state.popular[0]
        return dict(zip(everywhere.content_ids, everywhere.households, strict=True))

    supported = int(shards[0].devices[shards[0].contents == made_up][0])
    assert list_popular(lone, supported) == list_popular(shards, supported)
    assert "film:7" in list_popular(shards, supported + 1)
    assert "film:7" not in list_popular(lone, supported + 1)


def test_published_rows_equal_a_centralised_solve_on_the_union_of_all_households() -> None:
    union = [household for part in PARTS for household in part]

    rows = sort_rows(compute(PARTS, FIRST).state)

    assert rows == solve_centrally(union, FIRST.dictionary.content_ids)
    assert len(rows) > 20
    assert any(code < 0 for row in rows for code in row.codes)


def test_any_order_of_shards_gives_the_same_result() -> None:
    results = [compute(PARTS, FIRST, order=order) for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0))]

    assert [each.state.rows for each in results[1:]] == [results[0].state.rows] * 2
    assert [each.state.popular for each in results[1:]] == [results[0].state.popular] * 2


def test_the_first_round_has_a_dictionary_and_popular_content_but_no_rows() -> None:
    counts = count_likes([household for part in PARTS for household in part])
    households = dict(zip(counts.content_ids, counts.devices.tolist(), strict=True))

    assert FIRST.dictionary.version == 1
    assert len(FIRST.dictionary.content_ids) == 30
    assert min(households[each] for each in FIRST.dictionary.content_ids) >= 4
    assert FIRST.rows == []
    assert [each.region for each in FIRST.popular] == ["", "north", "south"]
    assert FIRST.popular[0].content_ids[0] == min(
        households, key=lambda each: (-round_down(households[each]), each)
    )
    assert FIRST.needs_likes(CLOSED_AT + 1, 86_400)


def test_likes_are_not_needed_again_until_the_interval_is_over() -> None:
    state = compute(PARTS, FIRST).state

    assert not state.needs_likes(CLOSED_AT + 1, 86_400)
    assert state.needs_likes(CLOSED_AT + 86_400, 86_400)
    assert state.needs_likes(CLOSED_AT + 1, 0)
    assert state.needs_likes(CLOSED_AT - 10, 86_400)  # the clock was ahead


def test_shards_that_count_for_another_dictionary_are_left_out_and_asked_again() -> None:
    result = compute(PARTS, FIRST, current=[True, False, True])

    expected = solve_centrally([*PARTS[0], *PARTS[2]], FIRST.dictionary.content_ids)
    assert sort_rows(result.state) == expected
    assert result.state.dictionary is FIRST.dictionary
    assert result.state.needs_likes(CLOSED_AT + 1, 86_400)


def test_rows_stay_while_no_shard_counts_for_the_dictionary() -> None:
    solved = compute(PARTS, FIRST).state

    result = compute(PARTS, solved, current=[False] * 3)

    assert result.state.rows == solved.rows
    assert result.changed_row_count == 0


def test_content_that_too_few_households_like_by_now_is_withdrawn_without_a_solve() -> None:
    solved = compute(PARTS, FIRST).state
    victim = solved.rows[0].content_id
    parts = [[household - {victim} for household in part] for part in PARTS]

    rows = compute(parts, solved, current=[False] * 3).state.rows

    assert victim in {each for row in solved.rows for each in row.neighbours}
    assert victim not in {row.content_id for row in rows}
    assert victim not in {each for row in rows for each in row.neighbours}


def test_a_pair_that_fell_below_the_minimum_is_gone_at_once() -> None:
    solved = compute(PARTS, FIRST).state
    row = solved.rows[0]
    pair = {row.content_id, row.neighbours[0]}
    parts = [
        [each - {row.neighbours[0]} if pair <= each else each for each in part] for part in PARTS
    ]

    after = compute(parts, solved).state.rows

    for name, other in (tuple(pair), tuple(pair)[::-1]):
        assert all(other not in each.neighbours for each in after if each.content_id == name)


def test_nothing_is_published_of_fewer_households_than_the_minimum() -> None:
    rules = replace(RULES, min_households=60)
    first = compute(PARTS, RelatedState(), rules).state
    state = compute(PARTS, first, rules).state
    union = [household for part in PARTS for household in part]

    for row in state.rows:
        for other in row.neighbours:
            assert sum({row.content_id, other} <= household for household in union) >= 60
    for popular in state.popular:
        region = [p for p, r in zip(PARTS, REGIONS, strict=True) if popular.region in ("", r)]
        for each in popular.content_ids:
            assert sum(each in household for part in region for household in part) >= 60


def test_the_result_counts_contributors_and_changed_rows() -> None:
    result = compute(PARTS, FIRST)
    again = compute(PARTS, result.state)

    assert result.contributors == 410
    assert result.changed_row_count == len(result.state.rows) > 0
    assert again.changed_row_count == 0


def test_the_dictionary_does_not_change_while_shards_still_count_for_it() -> None:
    old = RelatedState(dictionary=Dictionary(3, FIRST.dictionary.content_ids[:10]))

    assert compute(PARTS, old, current=[True, True, False]).state.dictionary.version == 3
    assert compute(PARTS, old).state.dictionary.version == 4
