"""What a round makes of aggregates, as a value."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from constellation.federated.aggregate import AggregateHeader, AggregateVersion
from constellation.v1 import aggregates_pb2
from federation.merge.aggregates import ShardAggregate
from federation.merge.codebook import Codebook
from federation.merge.hourly_counts import HourlyCells, HourlyWindow
from federation.merge.published_clusters import PublishRules, RoundStamp
from federation.merge.result import ModelState, RoundInputs, RoundRules, compute_result
from federation.merge.terms import Terms
from federation.merge.trends import TrendRules
from federation.messages import serialise_result
from federation.round_report import Coverage
from tests.federation.aggregates import embedding, make_cluster_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.encoding import Embeddings
    from constellation.federated.aggregate import ClusterRows
    from federation.merge.result import RoundResult

RULES = RoundRules(
    publishing=PublishRules(min_devices=5), trends=TrendRules(surprise=0, floor=1, min_devices=5)
)
CLOSED_AT = 1_800_000_000
STAMP = RoundStamp(generation=1, round_id=2, closed_at=CLOSED_AT)
HOUR = CLOSED_AT // 3600 - 1
CONTENTS = ("film:a", "film:b", "film:c")


class AggregatedShards:
    """Aggregates of shards; some content ids may have been numbered before."""

    def __init__(self, known_ids: Sequence[str] = ()) -> None:
        self.terms = Terms.empty()
        self.terms.contents.intern(known_ids)
        self.aggregates: list[ShardAggregate] = []

    def add_shard(self, devices: int, direction: int = 1) -> None:
        """Add a shard whose devices all point one way, in cluster 1, and watch three films."""
        shard_id = len(self.aggregates)
        contents = [dict.fromkeys(CONTENTS, devices)]
        rows = make_cluster_rows([1], [devices], contents, directions=[direction])
        subjects = self.terms.contents.intern(CONTENTS)
        cells = HourlyCells(subjects, np.full(3, HOUR), np.full(3, devices))
        self.aggregates.append(
            ShardAggregate(
                AggregateVersion(shard_id, 1, 1),
                AggregateHeader("north", 1, 1, 0, devices),
                self.terms.intern_rows(rows),
                HourlyWindow().join(cells, 1),
                float(CLOSED_AT),
                f"shard-{shard_id}:1",
            )
        )

    def compute_result(self, rules: RoundRules = RULES) -> RoundResult:
        codebook = Codebook(1, np.array([1], np.uint32), embedding(1).astype(np.float32)[None], 2)
        model_state = ModelState(codebook, float(CLOSED_AT))
        return compute_result(
            RoundInputs(STAMP, self.aggregates, None, self.terms), model_state, rules
        )

    def compute_anchor(self, rules: RoundRules = RULES) -> Embeddings:
        anchor: Embeddings = self.compute_result(rules).codebook.anchors[0]
        return anchor


def test_the_order_in_which_terms_were_numbered_changes_no_byte() -> None:
    payloads = []
    for known_ids in (CONTENTS, CONTENTS[::-1], ("film:z", *CONTENTS[1:])):
        fleet = AggregatedShards(known_ids)
        for devices in (10, 11, 12):
            fleet.add_shard(devices)
        result = fleet.compute_result()
        payloads.append(serialise_result(result, STAMP, Coverage()))

    message = aggregates_pb2.Global.FromString(payloads[0])
    assert payloads[0] == payloads[1] == payloads[2]
    assert list(message.clusters.patterns.content_ids) == list(CONTENTS)
    assert [trend.content_id for trend in message.trends] == list(CONTENTS)


def test_a_lying_shard_does_not_move_an_anchor_when_the_merge_is_robust() -> None:
    fleet = AggregatedShards()
    for _ in range(6):
        fleet.add_shard(20)
    fleet.add_shard(20_000, direction=2)  # it claims a thousand times their devices

    mean, robust = fleet.compute_anchor(), fleet.compute_anchor(replace(RULES, is_robust=True))

    assert float(robust @ embedding(1)) > 0.99
    assert float(mean @ embedding(1)) < 0.9


def test_fewer_than_five_shards_are_merged_by_the_mean() -> None:
    fleet = AggregatedShards()
    for number in range(4):
        fleet.add_shard(20, direction=1 + number % 2)

    assert (fleet.compute_anchor(replace(RULES, is_robust=True)) == fleet.compute_anchor()).all()


def test_one_shards_word_for_a_content_is_not_enough() -> None:
    fleet = AggregatedShards()
    for _ in range(5):
        fleet.add_shard(20)
    liar = fleet.aggregates[-1].clusters.contents
    numbers = fleet.terms.contents.intern(["film:evil"])
    evil = replace(liar, rows=np.zeros(1, np.int64), terms=numbers, devices=np.array([20]))
    fleet.aggregates[-1] = replace(
        fleet.aggregates[-1], clusters=replace(fleet.aggregates[-1].clusters, contents=evil)
    )

    (cluster,) = fleet.compute_result().clusters

    assert cluster.content_ids == CONTENTS


def test_one_shards_devices_do_not_lift_a_cluster_over_the_gate() -> None:
    fleet = AggregatedShards()
    for devices in (2, 2, 1_000_000):
        fleet.add_shard(devices)
    gates = replace(RULES.publishing, min_devices=50)

    assert list(fleet.compute_result(replace(RULES, publishing=gates)).clusters) == []


def test_sums_over_another_journals_codebook_do_not_count() -> None:
    fleet = AggregatedShards()
    for _ in range(4):
        fleet.add_shard(20)
    header = replace(fleet.aggregates[0].header, codebook_generation=9)
    fleet.aggregates[0] = replace(fleet.aggregates[0], header=header)

    (cluster,) = fleet.compute_result().clusters

    assert cluster.devices == 60
    assert cluster.shards == 3


def overhaul_codebook(
    fleet: AggregatedShards, directions: list[int], offers: dict[int, ClusterRows]
) -> Codebook:
    """Return the codebook after an overhaul for which shards offered local clusters."""
    anchors = np.stack([embedding(each) for each in directions]).astype(np.float32)
    ids = np.arange(1, len(anchors) + 1, dtype=np.uint32)
    model_state = ModelState(Codebook(1, ids, anchors, len(anchors) + 1), 0.0)
    inputs = RoundInputs(STAMP, fleet.aggregates, offers, fleet.terms)
    return compute_result(inputs, model_state, RULES).codebook


def test_an_overhaul_happens_also_when_nobody_offers_anything() -> None:
    fleet = AggregatedShards()
    for _ in range(3):
        fleet.add_shard(20)

    after = overhaul_codebook(fleet, [1, 2], {})  # nobody is in the second cluster

    assert after.cluster_ids.tolist() == [1]


def test_a_shard_cannot_offer_the_sums_of_others_away() -> None:
    fleet = AggregatedShards()
    for _ in range(4):
        fleet.add_shard(20)
    lie = make_cluster_rows([1], [10_000], directions=[1])

    after = overhaul_codebook(fleet, [1], {3: fleet.terms.intern_rows(lie)})

    assert after.cluster_ids.tolist() == [1]
    assert float(after.anchors[0] @ embedding(1)) > 0.99


def test_what_a_heavy_shard_offers_is_scaled_as_its_sums_are() -> None:
    fleet = AggregatedShards()
    for devices in (20, 20, 10_000):
        fleet.add_shard(devices)
    offer = make_cluster_rows([1], [2_000], directions=[1])

    after = overhaul_codebook(fleet, [1], {2: fleet.terms.intern_rows(offer)})

    assert after.cluster_ids.tolist() == [1]
