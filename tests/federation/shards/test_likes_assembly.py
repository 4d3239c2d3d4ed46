from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from constellation.errors import InvalidInputError
from constellation.federated.likes import DictionaryKey
from constellation.transport.codec.aggregates import from_aggregate_update
from constellation.v1 import aggregates_pb2 as pb
from federation.shards.assembly import Assembly
from tests.federation.joined_shards import HOUR
from tests.federation.liked import CountingShard, count_likes, make_households

if TYPE_CHECKING:
    from collections.abc import Sequence

HOUSEHOLDS = make_households(50, 1, contents=12)


def make_chunks(**header: Any) -> list[pb.PullAggregateResponse]:
    """Return the answer of a shard with likes and pairs, with some fields of its header changed."""
    shard = CountingShard(0, HOUSEHOLDS)
    shard.dictionary, shard.key = count_likes(HOUSEHOLDS).content_ids, DictionaryKey(1, 3)
    chunks = list(from_aggregate_update(shard.make_update(0, include_likes=True)))
    for name, value in header.items():
        setattr(chunks[0].header, name, value)
    return chunks


def assemble(chunks: Sequence[pb.PullAggregateResponse]) -> Assembly:
    assembly = Assembly(HOUR, include_likes=True)
    for chunk in chunks:
        assembly.add(chunk)
    return assembly


def test_chunks_in_any_order_and_repeated_make_the_likes_and_pairs() -> None:
    chunks = make_chunks()
    assembly = assemble([*reversed(chunks), *chunks])

    ((update, _),) = assembly.build_updates()

    assert update.likes is not None
    counts = count_likes(HOUSEHOLDS)
    names = assembly.terms.contents.to_texts(update.likes.contents)
    assert dict(zip(names, update.likes.devices.tolist(), strict=True)) == dict(
        zip(counts.content_ids, counts.devices.tolist(), strict=True)
    )
    assert update.likes.contributors == 50
    assert update.likes.dictionary == DictionaryKey(1, 3)
    pairs = sum(len(each) * (len(each) - 1) // 2 for each in HOUSEHOLDS)
    assert update.likes.pairs.devices.sum() == pairs


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ({"like_count": 3}, "likes of shard 0 must be 3 rows, got 12"),
        ({"pair_row_count": 3}, "pairs of shard 0 must be 3 rows, got 12"),
        ({"contributors": 9}, "likes.devices of shard 0 must be at most its 9 contributors"),
        ({"contributors": 2**26 + 1}, "header.contributors must be at most"),
        ({"dictionary_version": 0}, "pairs of shard 0 have no dictionary"),
    ],
)
def test_rows_that_contradict_the_header_are_refused(header: dict[str, int], problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        assemble(make_chunks(**header)).build_updates()


def test_likes_that_were_not_requested_are_refused() -> None:
    assembly = Assembly(HOUR)
    chunk = next(each for each in make_chunks() if each.HasField("likes"))

    with pytest.raises(InvalidInputError, match="not requested"):
        assembly.add(chunk)


def test_an_answer_without_likes_is_not_an_answer_that_nobody_likes_anything() -> None:
    shard = CountingShard(0, HOUSEHOLDS)
    assembly = Assembly(HOUR)
    for chunk in from_aggregate_update(shard.make_update(0, include_likes=False)):
        assembly.add(chunk)

    ((update, _),) = assembly.build_updates()

    assert update.likes is None


def test_a_content_id_that_no_store_can_hold_is_refused() -> None:
    columns = pb.LikeColumns(content_ids=["x" * 65], devices=[1])
    chunk = pb.PullAggregateResponse(
        version=pb.AggregateVersion(shard_id=0, epoch=1, version=1), likes=columns
    )

    with pytest.raises(InvalidInputError, match=r"likes.content_ids must be from 1 to 64 bytes"):
        assemble([chunk])


def test_pairs_are_numbers_that_fit_their_columns() -> None:
    ((update, _),) = assemble(make_chunks()).build_updates()

    assert update.likes is not None
    assert update.likes.pairs.columns.dtype == np.uint16
    assert update.likes.pairs.devices.dtype == np.uint32
