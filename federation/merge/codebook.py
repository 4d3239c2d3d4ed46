"""Clusters: the codebook's first anchors, its step in each round, its overhaul each day. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.federated.clustering import find_nearest, refine_centres
from constellation.federated.fixed_point import (
    WEIGHT_ONE,
    ClusterSums,
    Integers,
    compute_centroids,
    concatenate_sums,
    no_sums,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.encoding import Embeddings

_ITERATIONS: Final = 10
_ASSIGN_NEARNESS: Final = 0.25
"""A candidate that no centre is as near has no say in where one comes to lie."""
_SPREAD_NEARNESS: Final = 0.5
"""Two centres are further from each other than this, when they are chosen."""
_SAME_NEARNESS: Final = 0.6
"""A centre this near to an anchor of before goes on as that one."""
_MERGE_NEARNESS: Final = 0.8
"""Anchors this near to each other become one. All four are on a `Scale`."""
_SCALE_SAMPLE_SIZE: Final = 512
"""Directions that a scale is made from."""
_MAX_USUAL_COSINE: Final = 0.95
_CANDIDATES_PER_CENTRE: Final = 8
"""Candidates that are looked at for each centre that may be chosen."""
_MAX_LOOKAHEAD: Final = 64
"""Candidates at most whose cosines are worked out together."""


@dataclass(frozen=True, slots=True, eq=False)
class Codebook:
    """The anchors that patterns are assigned to."""

    version: int
    """Grows whenever an anchor changes; 0 for none."""
    cluster_ids: NDArray[np.uint32]
    """Shape (k,), ascending, distinct, from 1 on, never given to another anchor."""
    anchors: Embeddings
    """Shape (k, DIMENSION), unit length."""
    next_id: int


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Local clusters of every shard, of patterns that no anchor is near."""

    shard_ids: Integers
    """Shape (m,)."""
    features: ClusterSums
    """m rows."""

    def to_canonical(self) -> Candidates:
        """Return the same, in an order that depends on nothing but the values."""
        sums = self.features
        scalars = np.column_stack([sums.devices, sums.weights, sums.successes, sums.contexts])
        digests = [
            blake2b(row.tobytes() + few.tobytes(), digest_size=16).digest()
            for row, few in zip(sums.sums, scalars, strict=True)
        ]
        shard_ids = self.shard_ids.tolist()
        order = sorted(range(len(digests)), key=lambda row: (shard_ids[row], digests[row]))
        chosen = np.array(order, np.int64)
        return Candidates(self.shard_ids[chosen], self.features.select(chosen))


@dataclass(frozen=True, slots=True)
class CosineScale:
    """Nearness from 0, as any two directions are, to 1, the same direction.

    Embeddings of one kind of thing all point roughly the same way: household tastes have a cosine
    of about .65 with each other, the means of many tastes .78. What counts as near is therefore
    measured against what is usual, not set.
    """

    usual_cosine: float
    """The usual cosine of two directions."""

    @classmethod
    def from_directions(cls, directions: Embeddings) -> CosineScale:
        """Return the scale of some directions: the median cosine of pairs of them."""
        some = directions[:: max(1, -(-len(directions) // _SCALE_SAMPLE_SIZE))]
        pairs = (some @ some.T)[np.triu_indices(len(some), 1)]
        usual = float(np.median(pairs)) if len(pairs) else 0.0
        return cls(min(max(usual, 0.0), _MAX_USUAL_COSINE))

    def to_cosine(self, nearness: float) -> float:
        return self.usual_cosine + nearness * (1 - self.usual_cosine)


@dataclass(frozen=True, slots=True)
class ClusterRules:
    """What makes an anchor."""

    limit: int = 1000
    """Anchors at most."""
    min_devices: int = 5
    """Devices that a candidate must have to become an anchor, or an anchor to stay one."""
    min_shards: int = 3
    """Shards that must have a candidate near it."""
    unchanged_cosine: float = 0.99999
    """An anchor that would turn less stays as it is, bit for bit: shards need not assign anew."""


def compute_residual_cosine(codebook: Codebook | None) -> float:
    """Return the cosine below which a pattern's nearest anchor is not near; 1 without anchors."""
    return (
        1.0
        if codebook is None
        else CosineScale.from_directions(codebook.anchors).to_cosine(_ASSIGN_NEARNESS)
    )


def bootstrap_codebook(candidates: Candidates, rules: ClusterRules) -> Codebook:
    """Return the first codebook, of what shards clustered by themselves; the second step of k-FED.

    Centres by farthest-first traversal, then weighted spherical k-means over the candidates
    (Dennis, Li and Smith, "Heterogeneity for the win", arXiv 2103.00697). Farthest-first likes
    outliers, so a centre needs devices, and other shards that have a candidate near it. The result
    has the same bits for any order of the candidates. It is version 0, without anchors, when no
    candidate is good enough.
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
    centres = centres[np.unique(find_nearest(points[near], centres)[0])]  # without empty ones
    ids = np.arange(1, len(centres) + 1, dtype=np.uint32)
    return Codebook(1, ids, centres, len(centres) + 1)


def apply_lloyd_step(
    codebook: Codebook,
    features: ClusterSums,
    rules: ClusterRules,
    anchors: Embeddings | None = None,
) -> Codebook:
    """Return the codebook after one Lloyd step: each anchor is the direction of its sums.

    `features` has a row for each anchor, summed over all shards, which makes it the very step that
    one process with all patterns would take. Other `anchors` may stand in for those directions.
    The same object comes back when no anchor changed.
    """
    moved = compute_centroids(features.sums) if anchors is None else anchors
    cosines = np.einsum("ij,ij->i", moved, codebook.anchors, dtype=np.float64)
    pointing = moved.any(axis=1)  # sums that cancel each other out have no direction
    turned = (features.weights > 0) & pointing & (cosines < rules.unchanged_cosine)
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
    """Return the codebook after its overhaul, and for each id that went, the one that took over.

    Anchors of too few devices go, those that came close to each other become one, candidates that
    no anchor is near become new ones, where `rules.min_shards` shards have some: most shards may
    have none, so that one which makes them up is alone. An id goes on with the centre that is
    nearest to its anchor. The same object comes back when no anchor changed.
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
    ids = _match_ids(codebook, centres, scale.to_cosine(_SAME_NEARNESS))
    fresh = np.flatnonzero(ids == 0)
    ids[fresh] = codebook.next_id + np.arange(len(fresh))
    order = np.argsort(ids)
    found = Codebook(
        codebook.version + 1,
        ids[order].astype(np.uint32),
        centres[order],
        codebook.next_id + len(fresh),
    )
    _restore_unchanged(found, codebook, rules)
    if _is_same(found, codebook):
        return codebook, {}
    gone = np.flatnonzero(~np.isin(codebook.cluster_ids, found.cluster_ids))
    successors = found.cluster_ids[find_nearest(codebook.anchors[gone], found.anchors)[0]]
    return found, dict(zip(codebook.cluster_ids[gone].tolist(), successors.tolist(), strict=True))


def assign_candidates(candidates: Candidates, codebook: Codebook) -> tuple[ClusterSums, Integers]:
    """Return candidates added up by their nearest anchor, and how many shards each anchor has.

    `devices` are the most of a shard's candidates, added over the shards: a device may be in
    several candidates of its shard, so this never says too many.
    """
    total = no_sums(len(codebook.cluster_ids))
    shards = np.zeros(len(codebook.cluster_ids), np.int64)
    if not len(total) or not len(candidates.shard_ids):
        return total, shards
    features = candidates.features
    rows, _ = find_nearest(compute_centroids(features.sums), codebook.anchors)
    for column in ("weights", "successes", "sums", "contexts"):
        np.add.at(getattr(total, column), rows, getattr(features, column))
    for shard_id in np.unique(candidates.shard_ids).tolist():
        mine = candidates.shard_ids == shard_id
        most = np.zeros(len(total), np.int64)
        np.maximum.at(most, rows[mine], features.devices[mine])
        total.devices[:] += most
        shards += most > 0
    return total, shards


def compute_geometric_medians(sums: Integers, weights: Integers, iterations: int = 8) -> Embeddings:
    """Return the geometric median of the shards' centroids for each cluster, of unit length.

    `sums` is shape (s, k, DIMENSION), `weights` (s, k); a shard without weight in a cluster has no
    say in it. Smoothed Weiszfeld steps (Pillutla, Kakade and Harchaoui, "Robust aggregation for
    federated learning", arXiv 1912.13445): half of the weight must lie before the result follows.
    """
    points = np.stack([compute_centroids(each) for each in sums]).astype(np.float64)
    weighted = weights / WEIGHT_ONE
    share = weighted / np.maximum(weighted.sum(axis=0), 1 / WEIGHT_ONE)
    found = np.einsum("skd,sk->kd", points, share)
    for _ in range(iterations):
        distances = np.linalg.norm(points - found, axis=2)
        share = weighted / np.maximum(distances, 1e-6)
        share /= np.maximum(share.sum(axis=0), 1e-12)
        found = np.einsum("skd,sk->kd", points, share)
    norms = np.linalg.norm(found, axis=1)
    medians: Embeddings = (found / np.where(norms > 0, norms, 1)[:, None]).astype(np.float32)
    return medians


def _choose_farthest_first(
    candidates: Candidates,
    points: Embeddings,
    centres: Embeddings,
    rules: ClusterRules,
    scale: CosineScale,
) -> Embeddings:
    """Return new centres among the candidates, far from each other and from the present ones."""
    features, shard_ids = candidates.features, candidates.shard_ids
    usable, spread = features.devices >= rules.min_devices, scale.to_cosine(_SPREAD_NEARNESS)
    best = np.full(len(points), -1.0, np.float32)
    if len(centres):
        best = find_nearest(points, centres)[1]
    chosen: list[int] = []
    ahead: dict[int, NDArray[np.float32]] = {}
    count = 1  # whoever is turned down changes no turn: the next ones are known
    for _ in range(_CANDIDATES_PER_CENTRE * rules.limit):
        if len(centres) + len(chosen) >= rules.limit or not usable.any():
            break
        priorities = _compute_priorities(best, features.weights, usable)
        row = int(np.argmin(priorities))
        if best[row] >= spread:
            break
        if row not in ahead:
            rows = np.argsort(priorities, kind="stable")[:count] if count > 1 else np.array([row])
            ahead = dict(zip(rows.tolist(), points[rows] @ points.T, strict=True))
        cosines = ahead[row]
        usable[row] = False
        count = min(2 * count, _MAX_LOOKAHEAD)
        if len(np.unique(shard_ids[cosines >= spread])) >= rules.min_shards:
            chosen.append(row)
            best = np.maximum(best, cosines)
            count = 1
    return points[chosen]


def _compute_priorities(
    best: NDArray[np.float32], weights: Integers, usable: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return what is least for the candidate farthest from every centre; at first, the heaviest."""
    keys = -weights if best.max() <= -1 else best
    return np.where(usable, keys.astype(np.float64), np.inf)


def _subtract_candidates(
    features: ClusterSums, codebook: Codebook, candidates: Candidates, points: Embeddings
) -> ClusterSums:
    """Return sums without those of the candidates, which are counted with their nearest anchors."""
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
    """Return the rows of the anchors that stay: the heavier of two twins, those of most devices."""
    moved = apply_lloyd_step(codebook, features, rules).anchors
    strong = np.flatnonzero(features.devices >= rules.min_devices)
    order = strong[np.lexsort((strong, -features.weights[strong]))]
    kept: list[int] = []
    for row in order.tolist():
        if not kept or float((moved[kept] @ moved[row]).max()) < scale.to_cosine(_MERGE_NEARNESS):
            kept.append(row)
    kept.sort(key=lambda row: -features.devices[row])
    return np.array(sorted(kept[: rules.limit]), np.int64)


def _match_ids(codebook: Codebook, centres: Embeddings, min_cosine: float) -> Integers:
    """Return the id that each centre goes on with, 0 for none: nearest pairs first."""
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


def _restore_unchanged(found: Codebook, before: Codebook, rules: ClusterRules) -> None:
    """Put anchors that hardly turned back to where they were, in place."""
    _, new, old = np.intersect1d(found.cluster_ids, before.cluster_ids, return_indices=True)
    cosines = np.einsum("ij,ij->i", found.anchors[new], before.anchors[old], dtype=np.float64)
    is_unchanged = cosines >= rules.unchanged_cosine
    found.anchors[new[is_unchanged]] = before.anchors[old[is_unchanged]]


def _is_same(first: Codebook, second: Codebook) -> bool:
    return np.array_equal(first.cluster_ids, second.cluster_ids) and np.array_equal(
        first.anchors, second.anchors
    )
