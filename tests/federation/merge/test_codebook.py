from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.federated.clustering import find_nearest
from constellation.federated.fixed_point import SUM_ONE, WEIGHT_ONE, concatenate_sums, no_sums
from federation.merge.codebook import (
    ClusterRules,
    Codebook,
    apply_lloyd_step,
    bootstrap_codebook,
    compute_residual_cosine,
    reanchor_codebook,
)
from tests.federation.aggregates import (
    embedding,
    make_candidates,
    make_cluster_sums,
    shuffle_candidates,
)
from tests.federation.quality import (
    SHARD_COUNT,
    LabelledPoints,
    adjusted_rand_index,
    cluster_by_buckets,
    cluster_centrally,
    collect_candidates,
    draw_points,
    sum_points,
)

if TYPE_CHECKING:
    from federation.merge.candidates import Candidates

RULES = ClusterRules()


@pytest.fixture(scope="module")
def labelled_points() -> LabelledPoints:
    return draw_points(1.0, 0.2, seed=3)


@pytest.fixture(scope="module")
def offers(labelled_points: LabelledPoints) -> Candidates:
    return collect_candidates(labelled_points)


def make_codebook(directions: list[int], first_id: int = 1) -> Codebook:
    anchors = np.stack([embedding(direction) for direction in directions]).astype(np.float32)
    ids = np.arange(first_id, first_id + len(directions), dtype=np.uint32)
    return Codebook(1, ids, anchors, first_id + len(directions))


@pytest.mark.parametrize(("noise", "skew"), [(1.0, 0.2), (1.5, 0.2)])
def test_clusters_of_shards_with_tastes_of_their_own_are_those_of_one_process(
    noise: float, skew: float
) -> None:
    data = draw_points(noise, skew, seed=7)

    found = bootstrap_codebook(collect_candidates(data), RULES)
    for _ in range(3):  # rounds
        rows, _ = find_nearest(data.points, found.anchors)
        found = apply_lloyd_step(found, sum_points(data.points, rows, len(found.anchors)), RULES)

    rows, cosines = find_nearest(data.points, found.anchors)
    best = cluster_centrally(data, seed=1)
    best_rows, best_cosines = find_nearest(data.points, best)
    index = adjusted_rand_index(data.true_clusters, rows)
    reference = adjusted_rand_index(data.true_clusters, cluster_by_buckets(data.points))
    print(  # noqa: T201 - shown by pytest -s
        f"ARI {index:.3f} with {len(found.anchors)} anchors; centralised "
        f"{adjusted_rand_index(data.true_clusters, best_rows):.3f}; "
        f"reference's buckets {reference:.3f}; "
        f"cosine {cosines.mean() / best_cosines.mean():.4f} of centralised"
    )
    assert index >= 0.95
    assert cosines.mean() >= 0.99 * best_cosines.mean()
    assert reference < index


def test_a_step_over_shards_is_a_step_over_their_union(
    labelled_points: LabelledPoints, offers: Candidates
) -> None:
    before = bootstrap_codebook(offers, RULES)
    rows, _ = find_nearest(labelled_points.points, before.anchors)
    count = len(before.anchors)
    total = no_sums(count)
    for shard in range(SHARD_COUNT):
        mine = labelled_points.shards == shard
        total.add_at(np.arange(count), sum_points(labelled_points.points[mine], rows[mine], count))

    union = sum_points(labelled_points.points, rows, count)

    assert (total.sums == union.sums).all()
    assert (total.devices == union.devices).all()
    assert (
        apply_lloyd_step(before, total, RULES).anchors.tobytes()
        == apply_lloyd_step(before, union, RULES).anchors.tobytes()
    )


def test_the_first_codebook_has_the_same_bytes_for_any_order(offers: Candidates) -> None:
    first, second = (
        bootstrap_codebook(offers, RULES),
        bootstrap_codebook(shuffle_candidates(offers), RULES),
    )

    assert first.anchors.tobytes() == second.anchors.tobytes()


def test_an_anchor_that_hardly_turns_stays_bit_for_bit() -> None:
    before = make_codebook([1, 2])
    rows = make_cluster_sums([1, 2], [10, 10])

    assert apply_lloyd_step(before, rows, RULES) is before


def test_an_anchor_without_devices_stays() -> None:
    before = make_codebook([1, 2])
    moved = make_cluster_sums([1, 3], [10, 10])
    moved.weights[0], moved.sums[0] = 0, 0

    after = apply_lloyd_step(before, moved, RULES)

    assert after.version == 2
    assert (after.anchors[0] == before.anchors[0]).all()
    assert float(after.anchors[1] @ embedding(3)) > 0.999


def test_an_anchor_whose_sums_cancel_out_stays() -> None:
    before, cancelled = make_codebook([1, 2]), make_cluster_sums([1, 2], [10, 10])
    cancelled.sums[0] = 0

    assert apply_lloyd_step(before, cancelled, RULES) is before


def test_an_outlier_of_one_shard_is_no_anchor() -> None:
    rows = [(shard, 1, 20) for shard in range(4)] + [(0, 2, 500)]

    found = bootstrap_codebook(make_candidates(rows), RULES)

    assert (found.anchors @ embedding(2) < 0.5).all()
    assert len(found.anchors) == 1


def test_many_outliers_of_one_shard_are_no_anchors() -> None:
    rows = [(shard, 1, 20) for shard in range(4)] + [(0, 2, 500)] * 5

    found = bootstrap_codebook(
        make_candidates(rows + [(0, lie, 500) for lie in range(100, 300)]), RULES
    )

    assert len(found.anchors) == 1
    assert float(found.anchors[0] @ embedding(1)) > 0.999


@pytest.mark.parametrize("others", [[], [(1, 5, 20)]])
def test_what_only_one_shard_has_left_over_is_no_anchor(others: list[tuple[int, int, int]]) -> None:
    before, rows = make_codebook([1, 2, 3]), make_cluster_sums([1, 2, 3], [50, 50, 50])
    near = int((before.anchors @ embedding(4)).argmax())  # they are counted there, so far
    rows.devices[near] += 500
    rows.weights[near] += 500 * WEIGHT_ONE
    rows.sums[near] += np.rint(embedding(4) * SUM_ONE).astype(np.int64) * 500

    after, _ = reanchor_codebook(before, rows, make_candidates([(0, 4, 500), *others]), RULES)

    assert (after.anchors @ embedding(4) < 0.9).all()


def test_candidates_of_few_devices_are_no_anchors() -> None:
    rows = [
        (shard, direction, 20 if direction == 1 else 4)
        for shard in range(4)
        for direction in (1, 2)
    ]

    assert len(bootstrap_codebook(make_candidates(rows), RULES).anchors) == 1


def test_nothing_good_enough_is_no_codebook() -> None:
    assert bootstrap_codebook(make_candidates([(0, 1, 2)]), RULES).version == 0


def test_ids_go_on_when_clusters_drift_appear_and_die() -> None:
    before = make_codebook([1, 2, 3])
    drifted = 0.97 * embedding(1) + 0.25 * embedding(9)
    rows = make_cluster_sums([1, 2, 3], [50, 50, 0])
    rows.sums[0] = np.rint(drifted / np.linalg.norm(drifted) * SUM_ONE * 50)
    rows.weights[2], rows.sums[2] = 0, 0
    appeared = make_candidates([(shard, 4, 20) for shard in range(3)])
    near = int((before.anchors @ embedding(4)).argmax())  # they are counted there, so far
    rows.weights[near] += 60 * WEIGHT_ONE
    rows.sums[near] += np.rint(embedding(4) * SUM_ONE).astype(np.int64) * 60

    after, retired = reanchor_codebook(before, rows, appeared, RULES)

    assert after.cluster_ids.tolist() == [1, 2, 4]
    assert float(after.anchors[0] @ drifted / np.linalg.norm(drifted)) > 0.999
    assert float(after.anchors[2] @ embedding(4)) > 0.999
    assert after.next_id == 5
    assert retired.keys() == {3}


def test_anchors_that_came_together_become_one() -> None:
    before = make_codebook([1, 2])
    twin = embedding(1) + 0.1 * embedding(2)
    rows = make_cluster_sums([1, 2], [50, 60])
    rows.sums[1] = np.rint(twin / np.linalg.norm(twin) * SUM_ONE * 60)

    after, retired = reanchor_codebook(before, rows, make_candidates([]), RULES)

    assert len(after.anchors) == 1
    assert sum(rows.devices) == 110
    assert len(retired) == 1


def test_an_overhaul_of_what_did_not_change_is_the_same_codebook() -> None:
    before = make_codebook([1, 2, 3])

    after, retired = reanchor_codebook(
        before, make_cluster_sums([1, 2, 3], [50, 50, 50]), make_candidates([]), RULES
    )

    assert after is before
    assert not retired


def test_an_overhaul_leaves_alone_what_hardly_turned() -> None:
    before = make_codebook([1, 2, 3])

    after, retired = reanchor_codebook(
        before, make_cluster_sums([1, 2, 3], [50, 50, 1]), make_candidates([]), RULES
    )

    assert after.version == 2
    assert after.anchors.tobytes() == before.anchors[:2].tobytes()
    assert retired.keys() == {3}


def test_an_overhaul_has_the_same_bytes_for_any_order(offers: Candidates) -> None:
    before, rows = make_codebook([1, 2]), make_cluster_sums([1, 2], [50, 60])

    first, second = (
        reanchor_codebook(before, rows, each, RULES)[0]
        for each in (offers, shuffle_candidates(offers))
    )

    assert first.anchors.tobytes() == second.anchors.tobytes()
    assert first.cluster_ids.tolist() == second.cluster_ids.tolist()


def test_no_more_anchors_than_allowed() -> None:
    rules = replace(RULES, limit=2)
    rows = [(shard, direction, 20) for shard in range(3) for direction in (1, 2, 3, 4)]

    assert len(bootstrap_codebook(make_candidates(rows), rules).anchors) == 2


def test_anchors_of_fewest_devices_go_first() -> None:
    rows = make_cluster_sums([1, 2, 3], [50, 20, 30])
    rows.weights[1] = 90 * WEIGHT_ONE

    after, retired = reanchor_codebook(
        make_codebook([1, 2, 3]), rows, make_candidates([]), replace(RULES, limit=2)
    )

    assert after.cluster_ids.tolist() == [1, 3]
    assert retired.keys() == {2}


def test_twins_take_one_place_among_those_allowed() -> None:
    rows = make_cluster_sums([1, 1, 3], [50, 49, 20])

    after, _ = reanchor_codebook(
        make_codebook([1, 2, 3]), rows, make_candidates([]), replace(RULES, limit=2)
    )

    assert float((after.anchors @ embedding(1)).max()) > 0.999
    assert float((after.anchors @ embedding(3)).max()) > 0.999


def test_without_anchors_every_pattern_is_a_candidate() -> None:
    assert compute_residual_cosine(None) == 1.0


def test_what_is_near_depends_on_how_close_the_anchors_are_to_each_other() -> None:
    apart = make_codebook([1, 2, 3])
    common = embedding(9).astype(np.float32) * 2
    shifted = apart.anchors + common
    shifted /= np.linalg.norm(shifted, axis=1)[:, None]

    close = replace(apart, anchors=shifted)

    assert compute_residual_cosine(apart) == pytest.approx(0.25, abs=0.1)
    assert compute_residual_cosine(close) > 0.8


def test_features_join_in_order() -> None:
    assert concatenate_sums(
        [make_cluster_sums([1], [2]), make_cluster_sums([2], [3])]
    ).devices.tolist() == [2, 3]
