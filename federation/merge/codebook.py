"""The codebook of anchors: its first version, its step in each round, its daily revision. Pure.

Each round moves every anchor by one Lloyd step. Once a day, reanchoring also adds, merges and
removes anchors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.federated.clustering import find_nearest, refine_centres
from constellation.federated.fixed_point import (
    WEIGHT_ONE,
    ClusterSums,
    Integers,
    compute_centroids,
    concatenate_sums,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.encoding import Embeddings
    from federation.merge.candidates import Candidates

_ITERATIONS: Final = 10
"""Iterations of k-means; it ends earlier when no centre moves."""

# The four constants of nearness are measured on a `CosineScale`.
_ASSIGN_NEARNESS: Final = 0.25
"""Candidates farther than this from every centre do not move a centre."""
_SPREAD_NEARNESS: Final = 0.5
"""A new centre must be farther than this from every other centre."""
_SAME_NEARNESS: Final = 0.6
"""A centre at least this near to a previous anchor may keep that anchor's id."""
_MERGE_NEARNESS: Final = 0.8
"""Anchors at least this near to each other are merged into one."""

_SCALE_SAMPLE_SIZE: Final = 512
"""At most this many directions are compared with each other to make a scale."""
_MAX_USUAL_COSINE: Final = 0.95
"""Upper limit of a scale's usual cosine, so that a scale never shrinks to nothing."""
_CANDIDATES_PER_CENTRE: Final = 8
"""The search for new centres tries at most this many candidates for each allowed centre."""
_MAX_LOOKAHEAD: Final = 64
"""The cosines of at most this many candidates are computed in one matrix product."""


@dataclass(frozen=True, slots=True, eq=False)
class Codebook:
    """The anchors: unit vectors with ids, to which shards assign their patterns."""

    version: int
    """Grows by one whenever an anchor changes; 0 for a codebook without anchors."""
    cluster_ids: NDArray[np.uint32]
    """Shape (k,), ascending and distinct, from 1. An id is never reused for another anchor."""
    anchors: Embeddings
    """Shape (k, DIMENSION), unit length."""
    next_id: int
    """The id of the next new anchor."""


@dataclass(frozen=True, slots=True)
class CosineScale:
    """A scale of nearness: 0 for two arbitrary directions of the data, 1 for the same direction.

    Embeddings of similar things all point in roughly the same direction: the tastes of two
    devices have a cosine of about 0.65, and the means of many tastes one of about 0.78. A fixed
    cosine therefore cannot say what is near; the median cosine of the data can.
    """

    usual_cosine: float
    """The cosine of two arbitrary directions, from 0 to 0.95. Its nearness is 0."""

    @classmethod
    def from_directions(cls, directions: Embeddings) -> CosineScale:
        """Return the scale of the given directions: 0 is the median cosine of all pairs.

        Of many directions, every n-th is used, so that at most _SCALE_SAMPLE_SIZE are compared.
        """
        sample = directions[:: max(1, -(-len(directions) // _SCALE_SAMPLE_SIZE))]
        cosines = (sample @ sample.T)[np.triu_indices(len(sample), 1)]
        usual = float(np.median(cosines)) if len(cosines) else 0.0
        return cls(min(max(usual, 0.0), _MAX_USUAL_COSINE))

    def to_cosine(self, nearness: float) -> float:
        """Return the cosine that corresponds to a nearness."""
        return self.usual_cosine + nearness * (1 - self.usual_cosine)


@dataclass(frozen=True, slots=True)
class ClusterRules:
    """The limits that anchors must meet."""

    limit: int = 1000
    """The largest number of anchors."""
    min_devices: int = 5
    """A candidate needs this many devices to become an anchor, and an anchor to remain one."""
    min_shards: int = 3
    """A new anchor needs nearby candidates from this many shards."""
    unchanged_cosine: float = 0.99999
    """An anchor whose new direction has at least this cosine with the old one keeps the old one.

    It then stays the same bit for bit, so that shards need not assign their patterns again.
    """


def compute_residual_cosine(codebook: Codebook | None) -> float:
    """Return the cosine below which a pattern is near no anchor; 1 if there are no anchors."""
    if codebook is None:
        return 1.0
    return CosineScale.from_directions(codebook.anchors).to_cosine(_ASSIGN_NEARNESS)


def bootstrap_codebook(candidates: Candidates, rules: ClusterRules) -> Codebook:
    """Return the first codebook, made of the local clusters of all shards.

    This is the second step of k-FED (Dennis, Li and Smith, "Heterogeneity for the win", arXiv
    2103.00697): a farthest-first traversal chooses centres among the candidates, then weighted
    spherical k-means over the candidates refines them. Farthest-first favours outliers, so a centre
    must have enough devices, and candidates of enough shards near it. The result has the same bits
    for any order of the candidates. If no candidate qualifies, it is version 0, without anchors.
    """
    ordered = candidates.to_canonical()
    points = compute_centroids(ordered.features.sums)
    present = len(np.unique(ordered.shard_ids))
    rules = replace(rules, min_shards=min(rules.min_shards, present))
    no_centres, scale = points[:0], CosineScale.from_directions(points)
    centres = _choose_farthest_first(ordered, points, no_centres, rules, scale)
    if not len(centres):
        return Codebook(0, np.empty(0, np.uint32), no_centres, 1)
    near = find_nearest(points, centres)[1] >= scale.to_cosine(_ASSIGN_NEARNESS)
    weights = ordered.features.weights[near] / WEIGHT_ONE
    centres = refine_centres(points[near], weights, centres, _ITERATIONS)
    centres = centres[np.unique(find_nearest(points[near], centres)[0])]  # drops empty centres
    ids = np.arange(1, len(centres) + 1, dtype=np.uint32)
    return Codebook(1, ids, centres, len(centres) + 1)


def apply_lloyd_step(
    codebook: Codebook,
    features: ClusterSums,
    rules: ClusterRules,
    anchors: Embeddings | None = None,
) -> Codebook:
    """Return the codebook after one Lloyd step: each anchor becomes the direction of its sums.

    `features` has one row for each anchor, summed over all shards. The step is therefore exactly
    the one that a single process with all patterns would take. If `anchors` is given, its rows are
    used instead of the directions of the sums. If no anchor changed, the same object is returned.
    """
    moved = compute_centroids(features.sums) if anchors is None else anchors
    cosines = np.einsum("ij,ij->i", moved, codebook.anchors, dtype=np.float64)
    has_direction = moved.any(axis=1)  # sums may cancel each other out
    turned = (features.weights > 0) & has_direction & (cosines < rules.unchanged_cosine)
    if not turned.any():
        return codebook
    return Codebook(
        codebook.version + 1,
        codebook.cluster_ids,
        np.where(turned[:, None], moved, codebook.anchors),
        codebook.next_id,
    )


def reanchor_codebook(
    codebook: Codebook, features: ClusterSums, candidates: Candidates, rules: ClusterRules
) -> tuple[Codebook, dict[int, int]]:
    """Return the revised codebook, and for each id that disappeared the id of its successor.

    Anchors with too few devices are removed, and anchors that came close to each other are merged.
    Candidates that are near no anchor become new anchors if `rules.min_shards` shards have such
    candidates. (Most shards may have none; a shard that invents candidates is then alone and gets
    no anchor.) An id passes to the centre nearest to its anchor. If no anchor changed, the same
    object is returned.
    """
    scale = CosineScale.from_directions(codebook.anchors)
    ordered = candidates.to_canonical()
    points = compute_centroids(ordered.features.sums)
    rest = _subtract_candidates(features, codebook, ordered, points)
    kept = _select_kept_rows(codebook, rest, rules, scale)
    old = apply_lloyd_step(codebook, rest, rules).anchors[kept]
    new = _choose_farthest_first(ordered, points, old, rules, scale)
    centres = np.concatenate([old, new])
    if not len(centres):
        return codebook, {}
    near = find_nearest(points, centres)[1] >= scale.to_cosine(_ASSIGN_NEARNESS)
    every = concatenate_sums([rest.select(kept), ordered.features.select(near)])
    centres = refine_centres(
        compute_centroids(every.sums), every.weights / WEIGHT_ONE, centres, _ITERATIONS
    )
    revised = _number_centres(codebook, centres, scale)
    _restore_unchanged(revised, codebook, rules)
    if _is_same(revised, codebook):
        return codebook, {}
    return revised, _find_successors(codebook, revised)


def _choose_farthest_first(
    candidates: Candidates,
    points: Embeddings,
    centres: Embeddings,
    rules: ClusterRules,
    scale: CosineScale,
) -> Embeddings:
    """Return new centres among the candidates, far from each other and from the given `centres`.

    `points` are the directions of the candidates. Each turn takes the candidate that is farthest
    from every centre, and makes it a centre if enough shards have a candidate near it.
    """
    features, shard_ids = candidates.features, candidates.shard_ids
    usable, spread = features.devices >= rules.min_devices, scale.to_cosine(_SPREAD_NEARNESS)
    best = np.full(len(points), -1.0, np.float32)  # cosine of each candidate's nearest centre
    if len(centres):
        best = find_nearest(points, centres)[1]
    chosen: list[int] = []
    ahead: dict[int, NDArray[np.float32]] = {}
    # A rejected candidate does not change the order of the others. So the next candidates are
    # known, and after each rejection twice as many cosines are computed together.
    lookahead = 1
    for _ in range(_CANDIDATES_PER_CENTRE * rules.limit):
        if len(centres) + len(chosen) >= rules.limit or not usable.any():
            break
        priorities = _compute_priorities(best, features.weights, usable)
        row = int(np.argmin(priorities))
        if best[row] >= spread:
            break
        if row not in ahead:
            rows = np.array([row])
            if lookahead > 1:
                rows = np.argsort(priorities, kind="stable")[:lookahead]
            ahead = dict(zip(rows.tolist(), points[rows] @ points.T, strict=True))
        cosines = ahead[row]
        usable[row] = False
        lookahead = min(2 * lookahead, _MAX_LOOKAHEAD)
        if len(np.unique(shard_ids[cosines >= spread])) >= rules.min_shards:
            chosen.append(row)
            best = np.maximum(best, cosines)
            lookahead = 1
    return points[chosen]


def _compute_priorities(
    best: NDArray[np.float32], weights: Integers, usable: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return a value for each candidate; the candidate with the lowest value is tried next.

    This is the cosine of its nearest centre. As long as there is no centre, the heaviest candidate
    comes first.
    """
    keys = -weights if best.max() <= -1 else best
    return np.where(usable, keys.astype(np.float64), np.inf)


def _subtract_candidates(
    features: ClusterSums, codebook: Codebook, candidates: Candidates, points: Embeddings
) -> ClusterSums:
    """Return the anchors' sums without the candidates, which shards count at the nearest anchor."""
    weights, sums = features.weights.copy(), features.sums.copy()
    if len(points):
        rows, _ = find_nearest(points, codebook.anchors)
        np.subtract.at(weights, rows, candidates.features.weights)
        np.subtract.at(sums, rows, candidates.features.sums)
    emptied = weights <= 0
    weights[emptied], sums[emptied] = 0, 0
    devices = np.where(emptied, 0, features.devices)
    return replace(features, devices=devices, weights=weights, sums=sums)


def _select_kept_rows(
    codebook: Codebook, features: ClusterSums, rules: ClusterRules, scale: CosineScale
) -> Integers:
    """Return the rows of the anchors that remain, ascending.

    Of anchors that are near each other, the heaviest remains. If more remain than `rules.limit`,
    those with the most devices do.
    """
    moved = apply_lloyd_step(codebook, features, rules).anchors
    strong = np.flatnonzero(features.devices >= rules.min_devices)
    order = strong[np.lexsort((strong, -features.weights[strong]))]
    kept: list[int] = []
    for row in order.tolist():
        if not kept or float((moved[kept] @ moved[row]).max()) < scale.to_cosine(_MERGE_NEARNESS):
            kept.append(row)
    kept.sort(key=lambda row: -features.devices[row])
    return np.array(sorted(kept[: rules.limit]), np.int64)


def _number_centres(codebook: Codebook, centres: Embeddings, scale: CosineScale) -> Codebook:
    """Return the next codebook: centres that continue an anchor keep its id, others get new ids."""
    ids = _match_ids(codebook, centres, scale.to_cosine(_SAME_NEARNESS))
    new = np.flatnonzero(ids == 0)
    ids[new] = codebook.next_id + np.arange(len(new))
    order = np.argsort(ids)
    return Codebook(
        codebook.version + 1,
        ids[order].astype(np.uint32),
        centres[order],
        codebook.next_id + len(new),
    )


def _match_ids(codebook: Codebook, centres: Embeddings, min_cosine: float) -> Integers:
    """Return the id that each centre keeps, 0 for none. The nearest pairs are matched first."""
    cosines = codebook.anchors @ centres.T
    ids = np.zeros(len(centres), np.int64)
    taken: set[int] = set()
    pairs = np.argwhere(cosines >= min_cosine)
    order = np.lexsort((pairs[:, 0], pairs[:, 1], -cosines[pairs[:, 0], pairs[:, 1]]))
    for anchor, centre in pairs[order].tolist():
        if anchor not in taken and not ids[centre]:
            taken.add(anchor)
            ids[centre] = int(codebook.cluster_ids[anchor])
    return ids


def _restore_unchanged(revised: Codebook, before: Codebook, rules: ClusterRules) -> None:
    """Give anchors that hardly turned their previous direction back, in place."""
    _, new, old = np.intersect1d(revised.cluster_ids, before.cluster_ids, return_indices=True)
    cosines = np.einsum("ij,ij->i", revised.anchors[new], before.anchors[old], dtype=np.float64)
    is_unchanged = cosines >= rules.unchanged_cosine
    revised.anchors[new[is_unchanged]] = before.anchors[old[is_unchanged]]


def _is_same(first: Codebook, second: Codebook) -> bool:
    return np.array_equal(first.cluster_ids, second.cluster_ids) and np.array_equal(
        first.anchors, second.anchors
    )


def _find_successors(before: Codebook, revised: Codebook) -> dict[int, int]:
    """Return, for each id that is in `before` only, the id of the nearest revised anchor."""
    gone = np.flatnonzero(~np.isin(before.cluster_ids, revised.cluster_ids))
    successors = revised.cluster_ids[find_nearest(before.anchors[gone], revised.anchors)[0]]
    return dict(zip(before.cluster_ids[gone].tolist(), successors.tolist(), strict=True))
