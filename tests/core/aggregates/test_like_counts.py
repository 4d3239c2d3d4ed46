"""What a federation gets of liked content is what the devices like now, and only what changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.aggregates.shard_aggregates import Aggregates
from constellation.core.table.origins import DeviceOrigin
from constellation.federated.aggregate import AggregateVersion
from constellation.federated.likes import DictionaryKey
from constellation.federated.published_related import Dictionary
from tests.core.ingest.planned_table import HOUR, RULES, PlannedTable
from tests.deltas import device_id, make_delta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.ingest.deltas import Delta
    from constellation.federated.aggregate import AggregateUpdate
    from constellation.federated.likes import LikeAggregate

ORIGIN = AggregateVersion(0, 1, 0)


class CountingShard(PlannedTable):
    """A table with its aggregates, pulled as a federation does."""

    def __init__(self) -> None:
        super().__init__()
        self.aggregates = Aggregates(self.table, self.ring, RULES)

    def set_dictionary(self, version: int, contents: Sequence[str]) -> None:
        self.dictionary = tuple(contents)
        key = DictionaryKey(5, version)
        self.aggregates.liked.set_dictionary(Dictionary(key, self.dictionary))

    def pull(self, base: int = 0) -> AggregateUpdate:
        liked = self.aggregates.liked
        counts = liked.count(liked.copy())
        return self.aggregates.update_since(ORIGIN, base, "north", counts)

    def pull_likes(self, base: int = 0) -> LikeAggregate:
        likes = self.pull(base).likes
        assert likes is not None
        return likes

    def require_exact(self) -> None:
        """Compare a whole pull with what each device likes."""
        found = self.pull_likes()
        lists = self.read_liked().values()
        likes = Counter(content for each in lists for content in each)
        pairs = Counter(
            pair
            for each in lists
            for pair in combinations([text for text in self.dictionary if text in each], 2)
        )
        assert found.contributors == len(lists)
        assert dict(zip(found.likes.content_ids, found.likes.devices, strict=True)) == likes
        assert self.to_pairs(found) == pairs

    def to_pairs(self, found: LikeAggregate) -> dict[tuple[str, str], int]:
        rows = np.repeat(found.pairs.rows, found.pairs.lengths).tolist()
        names = self.dictionary
        return {
            (names[row], names[column]): devices
            for row, column, devices in zip(
                rows, found.pairs.columns.tolist(), found.pairs.devices.tolist(), strict=True
            )
        }


def like(device: int, seq: int, *contents: str) -> Delta:
    return make_delta(device, seq, snapshot=True, liked=contents)


def make_shard() -> CountingShard:
    shard = CountingShard()
    shard.commit(like(0, 1, "a", "b", "c"), like(1, 1, "a", "b"), like(2, 1, "d"))
    shard.set_dictionary(1, ["c", "b", "a", "unknown"])
    return shard


def test_likes_and_pairs_are_those_of_the_devices() -> None:
    shard = make_shard()

    found = shard.pull_likes()

    assert shard.to_pairs(found) == {("b", "a"): 2, ("c", "a"): 1, ("c", "b"): 1}
    assert found.dictionary == DictionaryKey(5, 1)
    shard.require_exact()


def test_what_is_withdrawn_deleted_or_moved_is_subtracted_exactly() -> None:
    shard = make_shard()
    shard.pull()

    shard.commit(make_delta(0, 2, withdrawn=["c"]), make_delta(2, 2, signals=[("a", HOUR)]))
    shard.require_exact()
    shard.expire(0)
    shard.require_exact()
    shard.commit(like(1, 9, "c", "b"))
    shard.require_exact()
    shard.table.relocated[shard.table.find_device(device_id(1))] = True
    shard.recount()

    assert shard.pull_likes().contributors == 1
    assert len(shard.pull_likes().pairs.devices) == 0


def test_what_one_lot_likes_is_marked_and_counted() -> None:
    shard = CountingShard()
    for device, lot in enumerate([1, 1, 1, 2, 3, 4]):
        contents = ("a", "b") if lot == 1 else ("b", "c")
        delta = like(device, 1, *contents)
        shard.commit(replace(delta, origin=DeviceOrigin(lot=lot)))
    shard.set_dictionary(1, ["a", "b", "c"])
    assert shard.table.standing.require_origins(3) == 3

    first = shard.pull()

    likes = first.likes
    assert likes is not None
    assert shard.to_pairs(likes) == {("a", "b"): 3, ("b", "c"): 3}
    assert likes.pairs.unsupported.tolist() == [True, False]
    marked = dict(zip(likes.likes.content_ids, likes.likes.unsupported.tolist(), strict=True))
    assert marked == {"a": True, "b": False, "c": False}

    for device, lot in ((0, 2), (1, 3)):  # they turn out to be of other lots
        delta = replace(like(device, 2, "a", "b"), origin=DeviceOrigin(lot=lot))
        shard.commit(delta)
    shard.recount()
    second = shard.pull(first.version.version).likes

    assert second is not None
    assert second.pairs.rows.tolist() == [0]
    assert second.pairs.unsupported.tolist() == [False]


def test_a_pull_has_only_the_rows_of_pairs_that_changed() -> None:
    shard = make_shard()
    first = shard.pull()
    unchanged = shard.pull(first.version.version)
    shard.commit(like(2, 2, "d", "a", "b"))

    second = shard.pull(first.version.version)

    assert unchanged.version == first.version
    assert unchanged.likes is not None
    assert len(unchanged.likes.pairs) == 0
    assert second.likes is not None
    assert second.version > first.version
    assert shard.to_pairs(second.likes) == {("b", "a"): 3}
    assert second.likes.pairs.versions.tolist() == [second.version.version]
    assert len(second.likes.likes.content_ids) == 4  # likes are always complete


def test_a_row_that_lost_its_pairs_is_sent_empty_to_those_who_may_hold_it() -> None:
    shard = make_shard()
    first = shard.pull()
    shard.commit(make_delta(0, 2, withdrawn=["c"]))

    second = shard.pull(first.version.version).likes

    assert second is not None
    assert (second.pairs.rows.tolist(), second.pairs.lengths.tolist()) == ([0], [0])


def test_another_dictionary_makes_all_rows_of_the_earlier_one_void() -> None:
    shard = make_shard()
    first = shard.pull()
    shard.set_dictionary(2, ["d", "a", "b"])

    second = shard.pull(first.version.version)

    assert second.likes is not None
    assert second.likes.dictionary == DictionaryKey(5, 2)
    assert second.likes.dictionary_effective_version == second.version.version
    assert shard.to_pairs(second.likes) == {("a", "b"): 2}
    shard.require_exact()


def test_a_change_of_likes_alone_is_a_new_version() -> None:
    shard = make_shard()
    first = shard.pull()
    shard.commit(make_delta(1, 2, signals=[("d", HOUR)]))

    assert shard.pull(first.version.version).version > first.version


def test_a_pull_that_does_not_ask_gets_no_counts() -> None:
    shard = make_shard()

    assert shard.aggregates.update_since(ORIGIN, 0, "north").likes is None


def test_random_deltas_deletions_and_pulls_leave_the_counts_exact() -> None:
    random = np.random.default_rng(7)
    shard = CountingShard()
    contents = [f"c{number}" for number in range(9)]
    seqs: Counter[int] = Counter()
    held: dict[tuple[str, str], int] = {}
    base = 0
    for step in range(60):
        if step % 20 == 0:
            shard.set_dictionary(step + 1, random.permutation(contents)[:6].tolist())
        for _ in range(3):
            device = int(random.integers(5))
            seqs[device] += 1
            chosen = random.permutation(contents)[: int(random.integers(0, 5))].tolist()
            match int(random.integers(4)):
                case 0:
                    delta = like(device, seqs[device], *chosen)
                case 1:
                    delta = make_delta(device, seqs[device], withdrawn=chosen)
                case 2 if device in seqs and shard.table.find_device(device_id(device)) >= 0:
                    shard.expire(device)
                    delta = make_delta(device, seqs[device], snapshot=True)
                case _:
                    hour = HOUR + step
                    signals = [(content, hour) for content in chosen]
                    delta = make_delta(device, seqs[device], signals=signals)
            shard.commit(delta, delta, now=HOUR * 3600.0 + step * 3600)
        shard.require_consistent()
        shard.require_exact()
        update = shard.pull(base)  # joined as a federation would
        assert update.likes is not None
        if update.likes.dictionary_effective_version > base:
            held = {}
        changed = {shard.dictionary[row] for row in update.likes.pairs.rows.tolist()}
        held = {pair: count for pair, count in held.items() if pair[0] not in changed}
        held |= shard.to_pairs(update.likes)
        base = update.version.version
        assert held == shard.to_pairs(shard.pull_likes())
