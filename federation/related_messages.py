"""Converts related and popular content to messages of the Global, and back."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np

from constellation.v1 import aggregates_pb2 as pb
from constellation.v1 import patterns_pb2
from federation.related.dictionary import Dictionary
from federation.related.popular import PopularList
from federation.related.rows import RelatedRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def from_related(dictionary: Dictionary, rows: Sequence[RelatedRow]) -> pb.RelatedContents:
    """Return the dictionary and the rows as the message that shards receive."""
    return pb.RelatedContents(
        dictionary_version=dictionary.version,
        dictionary=dictionary.content_ids,
        rows=_from_rows(rows),
    )


def to_dictionary(message: pb.RelatedContents) -> Dictionary:
    """Return the dictionary that shards count pairs for."""
    return Dictionary(message.dictionary_version, list(message.dictionary))


def _from_rows(rows: Sequence[RelatedRow]) -> patterns_pb2.RelatedRows:
    named = dict.fromkeys(row.content_id for row in rows)
    named.update(dict.fromkeys(each for row in rows for each in row.neighbours))
    index_of = {content_id: index for index, content_id in enumerate(named)}
    return patterns_pb2.RelatedRows(
        ids=b"".join(row.make_id() for row in rows),
        content_ids=list(named),
        contents=[index_of[row.content_id] for row in rows],
        neighbour_counts=bytes(len(row.neighbours) for row in rows),
        neighbours=[index_of[each] for row in rows for each in row.neighbours],
        weights=np.array([code for row in rows for code in row.codes], np.int8).tobytes(),
        shifts=bytes(row.shift for row in rows),
    )


def to_rows(message: patterns_pb2.RelatedRows) -> list[RelatedRow]:
    """Return the rows of a message that `from_related` made."""
    neighbours = [message.content_ids[index] for index in message.neighbours]
    codes = np.frombuffer(message.weights, np.int8).tolist()
    ends = accumulate(message.neighbour_counts, initial=0)
    return [
        RelatedRow(
            message.content_ids[content],
            tuple(neighbours[start:end]),
            tuple(codes[start:end]),
            shift,
        )
        for content, (start, end), shift in zip(
            message.contents, pairwise(ends), message.shifts, strict=True
        )
    ]


def from_popular(lists: Iterable[PopularList]) -> list[patterns_pb2.PopularContents]:
    """Return lists of popular content as the messages that shards receive."""
    return [
        patterns_pb2.PopularContents(
            id=each.make_id(),
            region=each.region,
            content_ids=each.content_ids,
            households=[min(count, 2**32 - 1) for count in each.households],
        )
        for each in lists
    ]


def to_popular(messages: Iterable[patterns_pb2.PopularContents]) -> list[PopularList]:
    """Return the lists of messages that `from_popular` made."""
    return [
        PopularList(each.region, tuple(each.content_ids), tuple(each.households))
        for each in messages
    ]
