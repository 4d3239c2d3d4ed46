"""Assembly of likes and pairs: turns the chunks of one shard's answer into what it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.errors import InvalidInputError
from constellation.federated.likes import join_pairs
from constellation.transport.codec.aggregates import MAX_DEVICES
from constellation.transport.codec.likes import to_dictionary_key, to_like_counts, to_pair_rows
from federation.related.shard_likes import ShardLikes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.federated.aggregate import AggregateVersion
    from constellation.federated.fixed_point import Integers
    from constellation.federated.likes import PairRows
    from constellation.v1 import aggregates_pb2 as pb
    from federation.merge.terms import Terms


class LikesAssembly:
    """Collects and checks the likes and pairs of one shard's answer, in any order."""

    def __init__(self) -> None:
        self._likes: list[tuple[Integers, Integers, NDArray[np.bool_]]] = []
        """The numbers of content items, how many devices like each, and which are unsupported."""
        self._pairs: list[PairRows] = []

    def add_likes(self, columns: pb.LikeColumns, terms: Terms) -> None:
        """Add a chunk of likes. Raises InvalidInputError if no shard can have produced it."""
        counts = to_like_counts(columns)
        try:
            contents = terms.contents.intern(counts.content_ids)
        except ValueError as error:
            raise InvalidInputError("likes.content_ids", str(error)) from None
        unsupported = np.zeros(len(contents), np.bool_)
        if len(counts.unsupported):
            unsupported = counts.unsupported
        self._likes.append((contents, counts.devices.astype(np.int64), unsupported))

    def add_pairs(self, columns: pb.PairColumns) -> None:
        """Add a chunk of pairs. Raises InvalidInputError if no shard can have produced it."""
        self._pairs.append(to_pair_rows(columns))

    def build(self, version: AggregateVersion, header: pb.AggregateHeader) -> ShardLikes:
        """Return the likes and pairs.

        Raises InvalidInputError if rows are missing, or if they contradict the header.
        """
        dictionary = to_dictionary_key(header)
        contents, devices, unsupported = _deduplicate(self._likes)
        pairs = join_pairs(self._pairs)
        _require_rows("likes", version, len(contents), header.like_count)
        _require_rows("pairs", version, len(pairs), header.pair_row_count)
        if header.contributors > MAX_DEVICES:
            raise InvalidInputError(
                "header.contributors", f"must be at most {MAX_DEVICES}, got {header.contributors}"
            )
        if devices.max(initial=0) > header.contributors:
            raise InvalidInputError(
                "likes.devices",
                f"of shard {version.shard_id} must be at most its {header.contributors} "
                f"contributors, got {devices.max()}",
            )
        if len(pairs) and not dictionary.version:
            raise InvalidInputError("pairs", f"of shard {version.shard_id} have no dictionary")
        return ShardLikes(
            version,
            header.contributors,
            contents,
            devices,
            dictionary,
            header.dictionary_effective_version,
            pairs,
            np.full(len(pairs), version.version),
            header.liked_limit,
            unsupported,
        )


def _require_rows(field: str, version: AggregateVersion, found: int, expected: int) -> None:
    if found != expected:
        raise InvalidInputError(
            field, f"of shard {version.shard_id} must be {expected} rows, got {found}"
        )


def _deduplicate(
    parts: Sequence[tuple[Integers, Integers, NDArray[np.bool_]]],
) -> tuple[Integers, Integers, NDArray[np.bool_]]:
    """Return the content items of all chunks, each once, with what is counted of it."""
    empty = np.empty(0, np.int64)
    contents = np.concatenate([empty, *(part for part, _, _ in parts)])
    devices = np.concatenate([empty, *(part for _, part, _ in parts)])
    unsupported = np.concatenate([empty.astype(np.bool_), *(part for _, _, part in parts)])
    distinct, first = np.unique(contents, return_index=True)
    return distinct, devices[first], unsupported[first]
