"""Households with what they like, and shards that count it as the API says."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from constellation.federated.aggregate import AggregateVersion
from constellation.federated.contribution import SIGNALS_PER_HOUR
from constellation.federated.likes import DictionaryKey, LikeAggregate, LikeCounts, PairRows
from constellation.transport.codec.aggregates import from_aggregate_update
from constellation.v1 import aggregates_pb2 as pb
from federation.related.shard_likes import ShardLikes
from tests.federation.aggregates import make_cluster_rows, make_update
from tests.federation.scripted_shard import ScriptedShard, run_scripted_shard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from constellation.federated.aggregate import AggregateUpdate

Household = frozenset[str]


def make_households(count: int, seed: int, contents: int = 40) -> list[Household]:
    """Return households that like many of the films of one of four tastes, and a few of any."""
    random = np.random.default_rng(seed)
    households = []
    for number in range(count):
        chance = np.where(np.arange(contents) % 4 == number % 4, 0.6, 0.15)
        liked = np.flatnonzero(random.random(contents) < chance)
        households.append(frozenset(f"film:{each}" for each in liked.tolist()))
    return households


def count_likes(households: Sequence[Household]) -> LikeCounts:
    counts = Counter(each for household in households for each in household)
    content_ids = sorted(counts)
    return LikeCounts(content_ids, np.array([counts[each] for each in content_ids], np.uint32))


def count_pairs(
    households: Sequence[Household], content_ids: Sequence[str], version: int = 1
) -> PairRows:
    """Return every row of pairs, also those without any."""
    position_of = {each: position for position, each in enumerate(content_ids)}
    counts: Counter[tuple[int, int]] = Counter()
    for household in households:
        positions = sorted(position_of[each] for each in household if each in position_of)
        counts.update(combinations(positions, 2))
    return make_pairs(counts, len(content_ids), version)


def make_pairs(counts: dict[tuple[int, int], int], rows: int, version: int = 1) -> PairRows:
    """Return rows from 0 to `rows` with these devices by (row, column)."""
    cells = sorted(counts)
    return PairRows(
        np.arange(rows),
        np.full(rows, version),
        np.bincount([row for row, _ in cells], minlength=rows).astype(np.int64),
        np.array([column for _, column in cells], np.uint16),
        np.array([counts[each] for each in cells], np.uint32),
    )


def make_shard_likes(
    households: Sequence[Household],
    dictionary: Sequence[str] = (),
    *,
    texts: list[str],
    key: DictionaryKey = DictionaryKey(1, 1),  # noqa: B008 - immutable
    shard_id: int = 0,
) -> ShardLikes:
    """Return what a shard of these households counts, with content items numbered by `texts`."""
    likes = count_likes(households)
    texts.extend(each for each in likes.content_ids if each not in texts)
    pairs = count_pairs(households, dictionary)
    return ShardLikes(
        AggregateVersion(shard_id, 1, 1),
        len(households),
        np.array([texts.index(each) for each in likes.content_ids], np.int64),
        likes.devices.astype(np.int64),
        key,
        0,
        pairs,
        np.full(len(pairs), 1),
    )


class CountingShard(ScriptedShard):
    """A shard of households: it counts pairs for the dictionary that was last published to it."""

    def __init__(
        self, shard_id: int, households: Sequence[Household], region: str = "north"
    ) -> None:
        super().__init__()
        self.households = list(households)
        self.version = 1
        self.dictionary: Sequence[str] = ()
        self.key = DictionaryKey()
        self.effective_version = 0
        self.exaggerated_devices = 0
        """If it is not 0, the devices that it says like both of the first two content items."""
        self.liked_limit = 0
        """The bound that it reports; the households must keep it."""
        self.is_complete = False
        """Whether it reports that its hourly counts are complete, with a bound of 4."""
        self.hours: dict[tuple[str, int], int] = {}
        """Devices by content item and hour."""
        self._shard_id = shard_id
        self._region = region
        self._sent: dict[int, PairRows] = {}
        """By version of the aggregate: its pairs."""

    def add(self, *households: Household) -> None:
        """Add households; the aggregate gets its next version."""
        self.households += households
        self.version += 1

    async def PullAggregate(  # noqa: N802
        self, request: pb.PullAggregateRequest, context: Any
    ) -> AsyncIterator[pb.PullAggregateResponse]:
        self.pulls.append(request)
        await self._fail_if_scripted(context)
        known = {each.shard_id: each.version for each in request.known_versions}
        update = self.make_update(known.get(self._shard_id, 0), include_likes=request.include_likes)
        for chunk in from_aggregate_update(update):
            yield chunk

    async def PublishGlobal(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.PublishGlobalRequest], context: Any
    ) -> pb.PublishGlobalResponse:
        response = await super().PublishGlobal(request_iterator, context)
        published = self.read_global()
        key = DictionaryKey(published.generation, published.related.dictionary_version)
        if key != self.key:
            self.version += 1
            self.key, self.effective_version = key, self.version
            self.dictionary = list(published.related.dictionary)
        return response

    def read_global(self) -> pb.Global:
        """Return the global that was last published to this shard."""
        payload = b"".join(frame.chunk for frame in self.globals[-1])
        return pb.Global.FromString(payload)

    def make_update(self, base: int, *, include_likes: bool) -> AggregateUpdate:
        """Return the aggregate; of its pairs only the rows that changed after version `base`."""
        clusters = make_cluster_rows([1], [len(self.households)], version=self.version)
        update = make_update(
            self._shard_id,
            clusters,
            self.hours,
            version=self.version,
            base_version=base,
            region=self._region,
            devices=len(self.households),
        )
        if self.is_complete:
            header = replace(update.header, hourly_limit=SIGNALS_PER_HOUR, is_complete=True)
            update = replace(update, header=header)
        if not include_likes:
            return update
        return replace(update, likes=self._count(base))

    def _count(self, base: int) -> LikeAggregate:
        pairs = count_pairs(self.households, self.dictionary, self.version)
        if self.exaggerated_devices:
            pairs.devices[0] = self.exaggerated_devices
        before = self._sent.get(base) if base >= self.effective_version else None
        self._sent[self.version] = pairs
        if before is not None:
            pairs = pairs.select(np.flatnonzero(_find_changed_rows(before, pairs)))
        return LikeAggregate(
            len(self.households),
            count_likes(self.households),
            pairs,
            self.key,
            self.effective_version,
            self.liked_limit,
        )


def _find_changed_rows(before: PairRows, after: PairRows) -> list[bool]:
    starts, ends = before.find_starts(), after.find_starts()
    return [
        (
            before.columns[starts[row] : starts[row + 1]].tobytes(),
            before.devices[starts[row] : starts[row + 1]].tobytes(),
        )
        != (
            after.columns[ends[row] : ends[row + 1]].tobytes(),
            after.devices[ends[row] : ends[row + 1]].tobytes(),
        )
        for row in range(len(after))
    ]


@asynccontextmanager
async def serve_shards(shards: Sequence[CountingShard]) -> AsyncIterator[list[str]]:
    """Serve shards until the block is left; yields their addresses."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(run_scripted_shard(shard)) for shard in shards]
