"""Microaggregation: divides patterns into groups of like ones, each of enough devices and origins.

This is MDAV (Domingo-Ferrer and Mateo-Sanz, 2002) inside cells of some hundred patterns that lie
near each other, so that the time grows as n log n and not as n squared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from constellation.core.table.standing import SupportFloor
    from constellation.encoding import Embeddings

    Positions = NDArray[np.int64]
    """Shape (n,): positions of patterns."""

CELL_PATTERNS: Final = 768
"""The most patterns in a cell: with twice as many, each pattern would take twice as long."""
_SAMPLE: Final = 256
"""Patterns from which the direction is computed along which a cell is divided."""
_POWER_ITERATIONS: Final = 12
"""Enough for a direction in which a cell is wide. An exact SVD takes 60 ms for each cell."""


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """The limits of every group."""

    floor: SupportFloor
    """The least number of distinct devices, and of their origins, whose pattern was in no group
    before."""
    max_members: int
    """The most members of a group."""
    min_cosine: float
    """The least cosine of a member with the sum of its group's unit vectors."""


def divide_into_cells(
    positions: Positions, read_vectors: Callable[[Positions], Embeddings]
) -> Iterator[Positions]:
    """Yield cells of at most CELL_PATTERNS of these patterns that lie near each other.

    A cell is halved at the median, along a direction in which it is wide, until it is small enough.
    """
    if len(positions) <= CELL_PATTERNS:
        yield positions
        return
    step = max(1, len(positions) // _SAMPLE)
    sample = read_vectors(positions[::step][:_SAMPLE])
    direction = _find_direction(sample - sample.mean(axis=0))
    heights = np.concatenate(
        [
            read_vectors(positions[start : start + 4096]) @ direction
            for start in range(0, len(positions), 4096)
        ]
    )
    order = np.argpartition(heights, len(positions) // 2)
    for half in (order[: len(positions) // 2], order[len(positions) // 2 :]):
        yield from divide_into_cells(positions[np.sort(half)], read_vectors)


def _find_direction(centred: Embeddings) -> NDArray[np.float32]:
    """Return about the first principal direction of centred vectors, by power iteration."""
    squares = np.einsum("ij,ij->i", centred, centred)
    direction = centred[squares.argmax()]
    for _ in range(_POWER_ITERATIONS):
        direction = (centred @ direction) @ centred
        direction /= np.float32(max(float(np.linalg.norm(direction)), 1e-12))
    return np.asarray(direction)


@dataclass(frozen=True, slots=True, eq=False)
class PatternSources:
    """The device and the origin of each pattern of one cell."""

    devices: NDArray[np.int64]
    origins: NDArray[np.uint8]
    """The origin number of each pattern's device."""


def form_groups(
    vectors: Embeddings,
    sources: PatternSources,
    is_fresh: NDArray[np.bool_],
    limits: GroupLimits,
) -> list[Positions]:
    """Return groups of the patterns of one cell; a pattern in none of them found no companions.

    `vectors` are unit vectors, one for each pattern. A group has at most one pattern of each
    device. They are made of fresh patterns; fresh ones that are left over, and others, then join
    them where there is room.
    """
    if limits.floor.devices == 1:
        return list(np.flatnonzero(is_fresh)[:, None])
    cosines = vectors @ vectors.T
    groups = _group_fresh(cosines, sources, is_fresh, limits)
    return _add_left_over(cosines, sources.devices, groups, limits)


def _group_fresh(
    cosines: NDArray[np.float32],
    sources: PatternSources,
    is_fresh: NDArray[np.bool_],
    limits: GroupLimits,
) -> list[Positions]:
    """Group the pattern farthest from the rest with its nearest ones, then the one opposite to it.

    A pattern whose nearest ones are too far is left over.
    """
    groups: list[Positions] = []
    is_free = is_fresh.copy()
    count = int(is_free.sum())
    affinity = cosines[:, is_free].sum(axis=1)
    """By pattern: the sum of its cosines with all that are free."""
    reference: NDArray[np.float32] | None = None
    while count >= limits.floor.devices:
        distances = affinity if reference is None else reference
        seed = int(np.where(is_free, distances, np.inf).argmin())
        members = _find_nearest(cosines[seed], sources, is_free, limits.floor)
        if _has_support(sources, members, limits.floor) and is_close(cosines, members, limits):
            groups.append(members)
        else:
            members = np.array([seed])
        is_free[members] = False
        count -= len(members)
        affinity -= cosines[:, members].sum(axis=1)
        reference = cosines[seed] if reference is None else None
    return groups


def _find_nearest(
    cosines: NDArray[np.float32],
    sources: PatternSources,
    is_free: NDArray[np.bool_],
    floor: SupportFloor,
) -> Positions:
    """Return the nearest free patterns that together meet the floor, as far as there are such."""
    free = np.flatnonzero(is_free)
    near = min(len(free), 4 * floor.devices)
    nearest = free[np.argpartition(-cosines[free], near - 1)[:near]]
    chosen = _choose_supporters(cosines, sources, nearest, floor)
    if near < len(free) and not _has_support(sources, chosen, floor):
        # A few devices, or origins, have all of the nearest ones.
        chosen = _choose_supporters(cosines, sources, free, floor)
    return chosen


def _choose_supporters(
    cosines: NDArray[np.float32], sources: PatternSources, positions: Positions, floor: SupportFloor
) -> Positions:
    """Return the nearest pattern of each of the nearest origins, then the nearest of the rest.

    All are of distinct devices. There are as many as the floor requires, or fewer if there are no
    more.
    """
    ordered = positions[np.argsort(-cosines[positions], kind="stable")]
    ordered = ordered[_find_first(sources.devices[ordered])]
    first = _find_first(sources.origins[ordered])[: floor.origins]
    rest = np.delete(ordered, first)[: floor.devices - len(first)]
    return np.concatenate([ordered[first], rest])


def _find_first(values: NDArray[np.integer]) -> Positions:
    """Return where each value occurs first, ascending."""
    return np.sort(np.unique(values, return_index=True)[1])


def _has_support(sources: PatternSources, members: Positions, floor: SupportFloor) -> bool:
    """Return whether patterns of distinct devices meet the floor."""
    none = np.zeros(len(members), np.int64)
    return bool(floor.find_supported(none, sources.origins[members], 1)[0])


def is_close(cosines: NDArray[np.float32], members: Positions, limits: GroupLimits) -> bool:
    """Return whether all members are near enough to their sum."""
    among = cosines[np.ix_(members, members)]
    with_sum = among.sum(axis=1)
    return bool(with_sum.min() >= limits.min_cosine * np.sqrt(max(with_sum.sum(), 1e-12)))


def _add_left_over(
    cosines: NDArray[np.float32],
    devices: NDArray[np.int64],
    groups: Sequence[Positions],
    limits: GroupLimits,
) -> list[Positions]:
    """Let patterns in no group join the nearest group that has room and stays close."""
    grown = list(groups)
    if not grown:
        return grown
    is_left = np.ones(len(devices), bool)
    is_left[np.concatenate(grown)] = False
    left = np.flatnonzero(is_left)
    affinity = np.stack([cosines[left][:, group].mean(axis=1) for group in grown], axis=1)
    for index in np.argsort(-affinity.max(axis=1), kind="stable").tolist():
        for nearest in np.argsort(-affinity[index])[:2].tolist():
            group = grown[nearest]
            if len(group) >= limits.max_members or devices[left[index]] in devices[group]:
                continue
            joined = np.append(group, left[index])
            if is_close(cosines, joined, limits):
                grown[nearest] = joined
                break
    return grown
