from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.federated.aggregate import AggregateVersion
from constellation.federated.likes import DictionaryKey, join_pairs
from federation.related.shard_likes import (
    Contradiction,
    LikesRefusedError,
    ShardLikes,
    count_at,
    find_contradiction,
    join_likes,
)
from tests.federation.liked import make_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Cells = dict[tuple[int, int], int]
KEY = DictionaryKey(1, 1)


def make_likes(  # noqa: PLR0913 - an answer has this many parts
    cells: Cells,
    *,
    version: int = 1,
    epoch: int = 1,
    likes: Mapping[int, int] | None = None,
    key: DictionaryKey = KEY,
    rows: Sequence[int] = (0, 1, 2),
    effective_version: int = 0,
) -> ShardLikes:
    """Return an answer with these rows of the pairs in `cells`."""
    pairs = make_pairs(cells, 3, version).select(np.array(rows, np.int64))
    likes = likes or {}
    return ShardLikes(
        AggregateVersion(0, epoch, version),
        10,
        np.array(list(likes), np.int64),
        np.array(list(likes.values()), np.int64),
        key,
        effective_version,
        pairs,
        np.full(len(pairs), version),
    )


def read_cells(likes: ShardLikes | None) -> Cells:
    assert likes is not None
    rows = np.repeat(likes.pairs.rows, likes.pairs.lengths).tolist()
    columns, devices = likes.pairs.columns.tolist(), likes.pairs.devices.tolist()
    return dict(zip(zip(rows, columns, strict=True), devices, strict=True))


FIRST = make_likes({(0, 1): 3, (0, 2): 2, (1, 2): 1}, likes={7: 5})
SECOND = make_likes({(1, 2): 4}, version=2, rows=[1], likes={8: 6})


def test_changed_rows_replace_those_that_are_known_and_likes_replace_all() -> None:
    joined = join_likes(FIRST, SECOND, 1)

    assert read_cells(joined) == {(0, 1): 3, (0, 2): 2, (1, 2): 4}
    assert joined is not None
    assert (joined.contents.tolist(), joined.devices.tolist()) == ([8], [6])
    assert joined.version.version == 2


def test_a_row_without_pairs_replaces_one_with_pairs() -> None:
    joined = join_likes(FIRST, make_likes({}, version=2, rows=[0]), 1)

    assert read_cells(joined) == {(1, 2): 1}


def test_an_answer_without_likes_changes_nothing() -> None:
    assert join_likes(FIRST, None, 1) is FIRST


def test_an_earlier_answer_and_a_repeated_one_change_nothing() -> None:
    joined = join_likes(FIRST, SECOND, 1)

    assert join_likes(joined, FIRST, 0) is joined
    assert read_cells(join_likes(joined, SECOND, 1)) == read_cells(joined)


@pytest.mark.parametrize("known", [None, FIRST, replace(FIRST, version=AggregateVersion(0, 0, 9))])
def test_pairs_that_build_on_what_is_not_known_are_refused(known: ShardLikes | None) -> None:
    with pytest.raises(LikesRefusedError, match="version 2, which is not known"):
        join_likes(known, make_likes({}, version=3), 2)


def test_pairs_of_an_earlier_dictionary_are_void() -> None:
    later = make_likes(
        {(0, 1): 8}, version=2, rows=[0], key=DictionaryKey(1, 2), effective_version=2
    )

    assert read_cells(join_likes(FIRST, later, 1)) == {(0, 1): 8}


def test_rows_from_before_the_dictionary_took_effect_are_void() -> None:
    mixed = make_likes({(0, 1): 8}, version=3, effective_version=4)

    assert read_cells(join_likes(None, mixed, 0)) == {}


def test_an_earlier_epoch_is_replaced_and_a_federation_above_hears_which_rows_are_gone() -> None:
    restarted = make_likes({(1, 2): 9}, epoch=2, version=5, rows=[1])

    joined = join_likes(FIRST, restarted, 0)

    assert read_cells(joined) == {(1, 2): 9}
    assert joined is not None
    assert joined.select_changes(4).rows.tolist() == [0, 1, 2]


def test_a_federation_above_gets_the_rows_that_arrived_after_its_version() -> None:
    # Row 2 was changed in version 2 and came only with version 4.
    late = replace(make_likes({}, version=2, rows=[2]), version=AggregateVersion(0, 1, 4))
    joined = join_likes(FIRST, replace(late, arrivals=np.array([4])), 1)

    assert joined is not None
    assert joined.select_changes(3).rows.tolist() == [2]
    assert joined.select_changes(0).rows.tolist() == [0, 1, 2]
    assert joined.select_changes(4).rows.tolist() == []


def test_a_pair_with_more_devices_than_one_of_its_contents_is_found() -> None:
    likes = make_likes({(0, 1): 3, (1, 2): 3}, likes={7: 5, 8: 3, 9: 2})

    assert find_contradiction(likes, np.array([7, 8, 9])) == Contradiction(1, 2, 3, 2)
    assert find_contradiction(likes, np.array([9, 8, 7])) == Contradiction(0, 1, 3, 2)
    assert find_contradiction(likes, np.array([7, -1, 9])) == Contradiction(0, 1, 3, 0)
    enough = replace(likes, devices=np.array([5, 3, 3]))
    assert find_contradiction(enough, np.array([7, 8, 9])) is None


def test_a_pair_beyond_the_dictionary_is_found() -> None:
    likes = make_likes({(0, 2): 1}, likes={7: 5, 8: 3})

    assert find_contradiction(likes, np.array([7, 8])) == Contradiction(0, 2, 0, 0)


def test_devices_are_counted_for_content_items_in_any_order() -> None:
    likes = make_likes({}, likes={9: 2, 4: 7})

    assert count_at(likes, np.array([4, 5, 9, 4, -1, 99])).tolist() == [7, 0, 2, 7, 0, 0]
    assert count_at(make_likes({}), np.array([4])).tolist() == [0]


def test_of_a_row_in_several_parts_the_latest_stays() -> None:
    parts = [make_pairs({(0, 1): version}, 2, version) for version in (2, 5, 3)]

    joined = join_pairs(parts)

    assert joined.devices.tolist() == [5]
    assert joined.rows.tolist() == [0, 1]
    assert len(join_pairs([])) == 0
