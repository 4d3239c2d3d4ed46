"""The promise of shared patterns, over random histories: see the docstring of epochs.py.

An adversary knows everything that was ever published, and may combine it linearly as it likes. What
was published is written down as integers: which revisions of which patterns each publication adds
up. Elimination with the latest publications first then shows how few devices' values can be
isolated.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from constellation.storage.memory import MemoryPatternStore
from tests.core.shards import open_core
from tests.core.shared.households import RULES, Households
from tests.deltas import device_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.shard import ShardManager

DEVICES = 14
LEAST = 3
"""Members that a group has at least: K_ANONYMITY is 2."""

actions = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.integers(0, DEVICES - 1), st.integers(1, 2)),
        st.tuples(st.just("upsert"), st.integers(0, DEVICES - 1), st.integers(1, 2)),
        st.tuples(st.just("remove"), st.integers(0, DEVICES - 1), st.integers(1, 2)),
        st.tuples(st.just("delete"), st.integers(0, DEVICES - 1), st.just(0)),
        st.tuples(st.just("epoch"), st.just(0), st.just(0)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
    ),
    min_size=20,
    max_size=120,
)

LOTS = 4
"""Lots of the devices whose lot is known."""


def find_lot(stored_id: int) -> int:
    """Return the lot of a device by its stored id: devices of several lots, and a larger one."""
    return max(1, (stored_id - 1) % (LOTS + 2) - 1)


Value = tuple[int, bytes]
"""A revision of a pattern: its slot's lifetime, and its codes."""


@dataclass
class Publications:
    """Everything that was published: for each publication, whose values it adds up."""

    seen: dict[bytes, dict[int, Value]] = field(default_factory=dict)
    """By id of the publication: each member's device, and the value that was counted."""
    required_origins: dict[bytes, int] = field(default_factory=dict)
    """By id of the publication: how many origins it had to have when it was published."""

    def observe(self, manager: ShardManager) -> None:
        """Write down what is published now, with the rows that an epoch has just counted."""
        table = manager.table
        for group in np.flatnonzero(table.groups.rows["sample_count"]).tolist():
            pseudonym = table.groups.rows["pattern_id"][group].tobytes()
            if pseudonym in self.seen:
                continue
            slots = table.groups.find_members(np.array([group])).slots
            rows = table.patterns[slots]
            owners = table.devices["device_id"][rows["device"]]
            self.seen[pseudonym] = {
                int.from_bytes(owner.tobytes(), "little"): (
                    int.from_bytes(row["pattern_id"].tobytes(), "big"),
                    row["codes"].tobytes(),
                )
                for owner, row in zip(owners, rows, strict=True)
            }
            assert len(self.seen[pseudonym]) == len(slots)  # one pattern for each device
            self.required_origins[pseudonym] = table.standing.require_origins(LEAST)

    def require_promise(self) -> None:
        """Check that each publication holds values of enough devices that no earlier one held."""
        earlier: set[tuple[int, Value]] = set()
        for pseudonym, members in self.seen.items():
            values = set(members.items())
            assert len(values) >= LEAST
            new = values - earlier
            assert len(new) >= LEAST
            origins = {find_lot(device) for device, _ in new}
            assert len(origins) >= self.required_origins[pseudonym]
            earlier |= values

    def require_no_small_combination(self) -> None:
        """Check, by exact elimination, that no combination isolates values of fewer devices.

        The publications are independent, since each has columns of its own. Every combination with
        the latest publication `last` keeps the coefficient of `last` in these columns, so a
        combination of few devices would have to have none.
        """
        columns = {value: None for members in self.seen.values() for value in members.items()}
        index = {value: number for number, value in enumerate(columns)}
        rows = np.zeros((len(self.seen), len(index)), np.int64)
        for number, members in enumerate(self.seen.values()):
            rows[number, [index[value] for value in members.items()]] = 1
        for number, first in enumerate(rows):
            for second in rows[:number]:
                for difference in (first - second, first + second):
                    assert np.count_nonzero(difference) >= LEAST
        assert _compute_rank(rows) == len(rows)


def _compute_rank(rows: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> int:
    """Return the rank over the integers modulo a large prime: never more than the true one."""
    prime, left, rank = 2_147_483_629, [[int(each) for each in row] for row in rows], 0
    for column in range(rows.shape[1]):
        pivot = next((row for row in left if row[column] % prime), None)
        if pivot is None:
            continue
        left.remove(pivot)
        rank += 1
        inverse = pow(pivot[column], -1, prime)
        left = [
            [
                (value - row[column] * inverse * top) % prime
                for value, top in zip(row, pivot, strict=True)
            ]
            for row in left
        ]
    return rank


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=actions, has_lots=st.booleans())
def test_no_history_isolates_fewer_devices(
    history: Sequence[tuple[str, int, int]], *, has_lots: bool
) -> None:
    publications = Publications()
    asyncio.run(_play(history, publications, has_lots=has_lots))

    publications.require_promise()
    publications.require_no_small_combination()


async def _play(
    history: Sequence[tuple[str, int, int]], publications: Publications, *, has_lots: bool
) -> None:
    store = MemoryPatternStore()
    seqs: dict[int, int] = {}
    revisions = 0
    deleted: set[int] = set()
    rest = list(history)
    while rest:
        async with open_core(store, rules=RULES) as manager:
            lots = {device: find_lot(device + 1) for device in range(DEVICES) if has_lots}
            households = Households(manager, seqs, revisions, lots=lots)
            while rest:
                action, device, number = rest.pop(0)
                if action == "restart":
                    break
                if action == "epoch":
                    await households.run_epoch()
                    publications.observe(manager)
                elif action == "upsert" and device not in deleted:
                    await households.upsert(device, number=number)
                elif action == "remove" and device in seqs and device not in deleted:
                    await households.remove(device, number)
                elif action == "delete" and device in seqs and device not in deleted:
                    await manager.delete_device(device_id(device))
                    deleted.add(device)
            revisions = households.revisions
