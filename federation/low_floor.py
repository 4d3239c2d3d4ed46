"""Warns of a floor of the federation that few accomplices get around.

Shards say with which K they show anything to their devices. A federation's floor must be at least
2 K - 1, or K - 1 accomplices learn more from what it publishes than any shard would let them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from constellation.federated.floors import K_ANONYMITY, compute_min_members

if TYPE_CHECKING:
    from collections.abc import Iterable

    from federation.merge.aggregates import ShardAggregate

log = structlog.get_logger(__name__)


def find_low_floor(floor: int, k_anonymity: int) -> str:
    """Return what is wrong with a GLOBAL_K_ANONYMITY, given the K of the shards; "" if nothing."""
    least = compute_min_members(k_anonymity)
    if floor >= least:
        return ""
    return (
        f"GLOBAL_K_ANONYMITY is {floor}: with K_ANONYMITY={k_anonymity} at the shards, "
        f"{k_anonymity - 1} accomplices may see what one household likes. Set it to at "
        f"least {least}, which is 2 K - 1"
    )


class FloorWatch:
    """Compares the floor with the largest K that any shard reports, and warns when that changes."""

    def __init__(self, floor: int, *, has_noise: bool = False) -> None:
        """Watch a floor; what is published with noise does not rest on it."""
        self._floor = floor
        self._has_noise = has_noise
        self._k_anonymity = 0

    def check(self, usable: Iterable[ShardAggregate]) -> None:
        """Log a warning if the floor is too low for what shards say, once for each such K.

        A shard of an earlier version says nothing: its K is taken to be the default.
        """
        k_anonymity = max((each.header.k_anonymity or K_ANONYMITY for each in usable), default=0)
        if self._has_noise or k_anonymity in (0, self._k_anonymity):
            return
        self._k_anonymity = k_anonymity
        if problem := find_low_floor(self._floor, k_anonymity):
            log.warning("floor_too_low", problem=problem)
