from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.core.aggregates.shard_aggregates import Aggregates
from constellation.core.aggregates.weights import bound_weights, compute_claims
from constellation.core.ingest.plan import Planner
from constellation.core.rows import TermKind
from constellation.core.rules import Rules
from constellation.core.table.hourly import HourlyRing
from constellation.core.table.ownership import ShardIdentity
from constellation.core.table.shard_table import Table
from constellation.encoding import normalise_codes
from constellation.errors import NotReadyError
from constellation.federated.aggregate import AggregateUpdate, AggregateVersion, Anchors
from constellation.federated.fixed_point import SUM_ONE, WEIGHT_ONE
from constellation.placement import find_owner
from tests.deltas import PatternSpec, device_id, embedding, make_delta

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation.core.ingest.deltas import Delta
    from constellation.core.ingest.plan import Plan

RULES = Rules(max_devices=8, max_patterns=64, max_patterns_per_device=6, k_anonymity=1)
TWO_ANONYMITY_RULES = replace(RULES, k_anonymity=2)
NOW = 1_800_000_000.0
HOUR = int(NOW) // 3600
DIRECTIONS = 4


def make_anchors(version: int = 1, first: int = 0) -> Anchors:
    """Return anchors at some of the directions that patterns have."""
    embeddings = np.stack([embedding(direction) for direction in range(first, DIRECTIONS)])
    ids = np.arange(first + 1, DIRECTIONS + 1, dtype=np.uint32)
    return Anchors(7, version, ids, embeddings.astype(np.float32))


class AggregatedTable:
    """A table and its aggregates, brought forward as the committer does."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules = rules
        self.table = Table(rules)
        self.ring = HourlyRing()
        self.planner = Planner(self.table, self.ring, rules)
        self.aggregates = Aggregates(self.table, self.ring, rules)

    def commit(self, *deltas: Delta) -> None:
        self._apply(self.planner.plan_commit(deltas, NOW))

    def expire(self, device: int) -> None:
        slot = self.table.find_device(device_id(device))
        if slot >= 0:
            self._apply(self.planner.plan_expiry(np.array([slot])))

    def use_anchors(self, new_anchors: Anchors) -> None:
        asyncio.run(self.aggregates._build(new_anchors, run_with_commits_paused))

    def get_update(self, base: int = 0) -> AggregateUpdate:
        return self.aggregates.update_since(AggregateVersion(7, 3, 0), base, "north")

    def _apply(self, planned: Plan) -> None:
        self.aggregates.record(planned.pattern_change)
        self.planner.apply(planned)


async def run_with_commits_paused(work: Callable[[], None]) -> None:
    """Run something while nothing is committed: nothing else runs here."""
    work()


def compute_by_hand(shard: AggregatedTable, anchors: Anchors) -> dict[int, dict[str, Any]]:
    """Work the sums out again, from the stored rows, one pattern after the other."""
    table = shard.table
    patterns = [
        row for row in table.patterns[: table.pattern_allocator.high_water] if row["sample_count"]
    ]
    owned = defaultdict(list)
    for row in patterns:
        owned[int(row["device"])].append(row)
    sums: dict[int, dict[str, Any]] = {}
    for device, rows in owned.items():
        claimed = [
            round(float(row["success_rate"]) * min(int(row["sample_count"]), 16) / 16 * WEIGHT_ONE)
            for row in rows
        ]
        halvings = max(0, math.ceil(math.log2(sum(claimed) / WEIGHT_ONE)))
        for row, claim in zip(rows, claimed, strict=True):
            cosines = anchors.embeddings @ normalise_codes(row["codes"][None])[0]
            cluster = sums.setdefault(
                int(anchors.cluster_ids[cosines.argmax()]),
                {"devices": set(), "weight": 0, "sum": np.zeros(384, np.int64), "contents": set()},
            )
            weight = claim >> halvings
            codes = row["codes"].astype(np.int64)
            factor = round(weight * 1024 / math.sqrt(int((codes**2).sum())))
            cluster["devices"].add(device)
            cluster["weight"] += weight
            cluster["sum"] += factor * codes
            for number in row["contents"][row["contents"] > 0].tolist():
                text = table.vocabulary.text(TermKind.CONTENT, number)
                cluster["contents"].add((device, text))
    return sums


def require_same(update: AggregateUpdate, expected: dict[int, dict[str, Any]]) -> None:
    rows = update.clusters
    filled = {
        int(cid): row for row, cid in enumerate(rows.cluster_ids) if rows.features.devices[row]
    }
    assert filled.keys() == expected.keys()
    for cluster_id, row in filled.items():
        cluster = expected[cluster_id]
        assert rows.features.devices[row] == len(cluster["devices"])
        assert rows.features.weights[row] == cluster["weight"]
        assert (rows.features.sums[row] == cluster["sum"]).all()
        assert rows.features.contexts[row].sum() == 3 * cluster["weight"]


PATTERNS = st.builds(
    PatternSpec,
    number=st.integers(0, 5),
    direction=st.integers(0, DIRECTIONS - 1),
    success_rate=st.sampled_from([0.75, 0.9, 1.0]),
    sample_count=st.sampled_from([1, 5, 16, 10**9]),
    genres=st.lists(st.sampled_from(["Drama", "Comedy"]), unique=True).map(tuple),
    contents=st.lists(st.sampled_from(["a", "b", "c"]), unique=True).map(tuple),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("delta"),
            st.integers(0, 3),
            st.lists(PATTERNS, max_size=3, unique_by=lambda pattern: pattern.number),
            st.lists(st.integers(0, 5), max_size=2, unique=True),
            st.booleans(),
        ),
        st.tuples(st.just("expire"), st.integers(0, 3)),
        st.tuples(st.just("fold")),
        st.tuples(st.just("switch"), st.integers(0, 2)),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_sums_are_those_of_the_stored_patterns_whatever_happened(steps: list[Any]) -> None:
    shard, used, version = AggregatedTable(), make_anchors(), 1
    shard.use_anchors(used)
    seqs: dict[int, int] = defaultdict(int)
    for step in steps:
        match step:
            case ("delta", device, upserts, removed, snapshot):
                seqs[device] += 1
                shard.commit(make_delta(device, seqs[device], upserts, removed, snapshot=snapshot))
            case ("expire", device):
                shard.expire(device)
                seqs[device] = 0
            case ("fold",):
                shard.aggregates.fold()
            case ("switch", first):
                version += 1
                used = make_anchors(version, first)
                shard.use_anchors(used)

    update = shard.get_update()

    require_same(update, compute_by_hand(shard, used))
    sums = shard.aggregates._current
    assert sums is not None
    clusters, numbers, devices = sums.terms.select_kind(TermKind.CONTENT)
    counted = {
        (
            int(used.cluster_ids[cluster]),
            shard.table.vocabulary.text(TermKind.CONTENT, number),
        ): count
        for cluster, number, count in zip(
            clusters.tolist(), numbers.tolist(), devices.tolist(), strict=True
        )
    }
    expected: dict[tuple[int, str], int] = defaultdict(int)
    for cluster_id, cluster in compute_by_hand(shard, used).items():
        for _, text in cluster["contents"]:
            expected[cluster_id, text] += 1
    assert counted == expected


@settings(max_examples=40, deadline=None)
@given(STEPS, st.integers(0, 5))
def test_an_increment_brings_a_holder_to_the_whole(steps: list[Any], at: int) -> None:
    shard = AggregatedTable()
    shard.use_anchors(make_anchors())
    seqs: dict[int, int] = defaultdict(int)
    held: AggregateUpdate | None = None
    for number, step in enumerate(steps):
        if number == at:
            held = shard.get_update()
        if step[0] == "delta":
            _, device, upserts, removed, snapshot = step
            seqs[device] += 1
            shard.commit(make_delta(device, seqs[device], upserts, removed, snapshot=snapshot))
    held = held or shard.get_update()

    more, whole = shard.get_update(held.version.version), shard.get_update()

    rows = {int(i): held.clusters.features.sums[r] for r, i in enumerate(held.clusters.cluster_ids)}
    rows |= {
        int(i): more.clusters.features.sums[r] for r, i in enumerate(more.clusters.cluster_ids)
    }
    full = {
        int(i): whole.clusters.features.sums[r] for r, i in enumerate(whole.clusters.cluster_ids)
    }
    assert more.base_version == held.version.version
    assert {i: row.tolist() for i, row in rows.items()} == {i: r.tolist() for i, r in full.items()}


def test_nothing_changed_is_an_empty_answer_of_the_same_version() -> None:
    shard = AggregatedTable()
    shard.use_anchors(make_anchors())
    shard.commit(make_delta(0, 1, [PatternSpec(1)], signals=[("a", HOUR)]))
    first = shard.get_update()

    second = shard.get_update(first.version.version)

    assert second.version == first.version
    assert len(second.clusters) == len(second.hours.hours) == 0


def test_only_clusters_that_changed_travel() -> None:
    shard = AggregatedTable()
    shard.use_anchors(make_anchors())
    shard.commit(make_delta(0, 1, [PatternSpec(1, 0)]), make_delta(1, 1, [PatternSpec(1, 1)]))
    first = shard.get_update()
    shard.commit(make_delta(1, 2, [PatternSpec(1, 1, sample_count=9)]))

    second = shard.get_update(first.version.version)

    assert second.clusters.cluster_ids.tolist() == [2]


def test_a_version_that_is_not_known_gets_everything() -> None:
    shard = AggregatedTable()
    shard.use_anchors(make_anchors())
    shard.commit(make_delta(0, 1, [PatternSpec(1, 0)]))
    shard.get_update()

    update = shard.get_update(99)

    assert update.base_version == 0
    assert update.clusters.cluster_ids.tolist() == [1]


def test_no_device_weighs_more_than_one_whatever_it_claims() -> None:
    shard = AggregatedTable()
    shard.use_anchors(make_anchors())
    greedy = [PatternSpec(n, n % DIRECTIONS, 1.0, 10**9) for n in range(6)]
    shard.commit(make_delta(0, 1, greedy))

    features = shard.get_update().clusters.features

    assert features.weights.sum() <= WEIGHT_ONE
    assert (features.weights.astype(float) ** 2).sum() <= float(WEIGHT_ONE) ** 2
    assert np.linalg.norm(features.sums.astype(float), axis=1).sum() <= SUM_ONE * 1.001


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0.01, 1), st.integers(1, 100)), min_size=1))
def test_a_devices_weights_are_halved_until_they_fit(
    patterns: list[tuple[int, float, int]],
) -> None:
    owners = np.array([owner for owner, _, _ in patterns])
    claimed = compute_claims(
        np.array([rate for _, rate, _ in patterns], np.float32),
        np.array([count for _, _, count in patterns], np.uint32),
    )

    weights = bound_weights(claimed, owners, 5)

    for device in range(5):
        before, after = claimed[owners == device].sum(), weights[owners == device].sum()
        assert after <= WEIGHT_ONE
        if before <= WEIGHT_ONE:
            assert after == before
        else:
            assert after > WEIGHT_ONE // 2 - len(patterns)


def test_a_content_travels_once_enough_devices_support_or_watched_it() -> None:
    shard = AggregatedTable(TWO_ANONYMITY_RULES)
    shard.use_anchors(make_anchors())
    alone = [PatternSpec(1, 0, contents=("secret", "shared"))]
    shard.commit(
        make_delta(0, 1, alone, signals=[("secret", HOUR), ("shared", HOUR)]),
        make_delta(1, 1, [PatternSpec(1, 0, contents=("shared",))]),
    )

    update = shard.get_update()

    assert list(update.clusters.contents.texts) == ["shared"]
    assert update.clusters.contents.devices.tolist() == [2]
    assert list(update.hours.content_ids) == ["shared"]


def test_what_is_new_to_travel_brings_its_past() -> None:
    shard = AggregatedTable(TWO_ANONYMITY_RULES)
    shard.use_anchors(make_anchors())
    shard.commit(make_delta(0, 1, [PatternSpec(1)], signals=[("late", HOUR - 5), ("late", HOUR)]))
    first = shard.get_update()
    shard.commit(make_delta(1, 1, [PatternSpec(1)], signals=[("late", HOUR)]))

    second = shard.get_update(first.version.version)

    assert list(first.hours.content_ids) == []
    assert sorted(zip(second.hours.hours.tolist(), second.hours.devices.tolist(), strict=True)) == [
        (HOUR - 5, 1),
        (HOUR, 2),
    ]


async def test_a_shard_that_sums_up_anew_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("constellation.core.aggregates.shard_aggregates._READY_SECONDS", 0.01)
    shard = AggregatedTable()
    await shard.aggregates.wait_until_ready()  # nobody has asked for sums

    shard.aggregates.set_anchors(make_anchors())

    with pytest.raises(NotReadyError, match="summing up"):
        await shard.aggregates.wait_until_ready()


def test_commits_during_a_switch_are_counted_once() -> None:
    shard, used = AggregatedTable(), make_anchors(2, 1)
    shard.use_anchors(make_anchors())
    for device in range(4):
        shard.commit(make_delta(device, 1, [PatternSpec(n, n % DIRECTIONS) for n in range(4)]))

    async def switch() -> None:
        turns = 0

        async def still(work: Callable[[], None]) -> None:
            nonlocal turns
            turns += 1
            if turns == 1:  # between looking patterns up and counting them
                shard.commit(
                    make_delta(0, 2, [PatternSpec(1, 3)], [2]),
                    make_delta(4, 1, [PatternSpec(1, 2)]),
                )
            work()
            if turns == 1:  # between counting them and the switch
                shard.commit(make_delta(1, 2, [PatternSpec(1, 3)], [2]))
                shard.expire(3)

        await shard.aggregates._build(used, still)

    asyncio.run(switch())

    require_same(shard.get_update(), compute_by_hand(shard, used))


def test_a_device_that_the_map_gives_away_is_not_counted() -> None:
    shard, shards = AggregatedTable(), {0: "a:1", 1: "b:1"}
    for device in range(6):
        shard.commit(make_delta(device, 1, [PatternSpec(1, 0)]))
    ShardIdentity(0, "north", shards).mark_relocated(shard.table)

    shard.use_anchors(make_anchors())

    mine = sum(find_owner(device_id(device), shards) == 0 for device in range(6))
    update = shard.get_update()
    assert 0 < mine < 6
    assert update.header.devices == mine
    assert update.clusters.features.devices.tolist() == [mine]


def test_a_cluster_of_too_few_devices_leaves_the_shard_as_zeros() -> None:
    shard = AggregatedTable(TWO_ANONYMITY_RULES)
    shard.use_anchors(make_anchors())
    shard.commit(
        make_delta(0, 1, [PatternSpec(1, 0, contents=("a",))]),
        make_delta(1, 1, [PatternSpec(1, 1)]),
    )
    shard.commit(make_delta(2, 1, [PatternSpec(1, 1, contents=("a",))]))
    first = shard.get_update()
    shard.commit(make_delta(2, 2, removed=[1]))

    second = shard.get_update(first.version.version)

    assert first.clusters.cluster_ids.tolist() == [2]
    assert first.clusters.features.devices.tolist() == [2]
    assert second.clusters.cluster_ids.tolist() == [2]
    assert not second.clusters.features.sums.any()
    assert not second.clusters.features.devices.any()


def test_a_pattern_that_never_succeeded_counts_its_device_once() -> None:
    shard = AggregatedTable(replace(RULES, quality_threshold=0.0))
    shard.use_anchors(make_anchors())
    for seq in range(1, 5):
        shard.commit(make_delta(0, seq, [PatternSpec(1, 0, success_rate=0.0, sample_count=seq)]))
        shard.aggregates.fold()

    assert shard.get_update().clusters.features.devices.tolist() == [1]


def test_a_codebook_without_anchors_is_none() -> None:
    shard = AggregatedTable()
    shard.commit(make_delta(0, 1, [PatternSpec(1)]))

    shard.aggregates.set_anchors(
        Anchors(7, 1, np.empty(0, np.uint32), np.empty((0, 384), np.float32))
    )

    assert not shard.aggregates._target_changed.is_set()
    assert shard.get_update().header.codebook_version == 0


def test_another_journals_codebook_is_another_one_whatever_its_version() -> None:
    shard = AggregatedTable()
    shard.use_anchors(make_anchors())

    shard.aggregates.set_anchors(replace(make_anchors(), generation=8))

    assert shard.aggregates._target_changed.is_set()


def test_what_becomes_known_by_patterns_alone_travels_with_its_past() -> None:
    shard = AggregatedTable(TWO_ANONYMITY_RULES)
    shard.commit(make_delta(0, 1, [PatternSpec(1)], signals=[("late", HOUR - 5)]))
    first = shard.get_update()
    for device in (0, 1):
        shard.commit(make_delta(device, 2 - device, [PatternSpec(2, contents=("late",))]))

    second = shard.get_update(first.version.version)

    assert second.version.version > first.version.version
    assert second.hours.hours.tolist() == [HOUR - 5]


def test_local_clusters_are_of_enough_devices() -> None:
    shard = AggregatedTable(TWO_ANONYMITY_RULES)
    for device in range(3):
        shard.commit(make_delta(device, 1, [PatternSpec(1, 0), PatternSpec(2, 10 + device)]))

    candidates = shard.aggregates.compute_candidates(shard.aggregates.sample(0.6), 16)

    assert candidates.features.devices.min() >= 2
    assert candidates.features.devices.max() == 3


def test_patterns_near_an_anchor_are_no_candidates() -> None:
    shard = AggregatedTable()
    shard.use_anchors(make_anchors())
    for device in range(3):
        shard.commit(make_delta(device, 1, [PatternSpec(1, 0), PatternSpec(2, 50)]))

    sample = shard.aggregates.sample(0.6)

    assert len(sample.rows) == 3
    assert (sample.rows["pattern_id"] == np.void(PatternSpec(2).pattern_id)).all()
