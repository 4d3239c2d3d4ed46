from __future__ import annotations

import numpy as np

from constellation.core.shared.epochs import EpochSteps, Proposal
from constellation.core.shared.waiting import find_waiting
from tests.core.shards import open_core
from tests.core.shared.households import NOW, RULES, Households
from tests.deltas import device_id


def propose(households: Households) -> tuple[EpochSteps, Proposal]:
    """Return new groups among all that waits."""
    table = households.manager.table
    steps = EpochSteps(table, RULES, b"secret")
    waiting = find_waiting(table, RULES)
    return steps, steps.propose_groups(waiting, np.arange(len(waiting.slots)), NOW)


async def test_what_is_still_true_when_it_is_published_is_a_new_group() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(3):
            await households.upsert(device)

        steps, proposal = propose(households)
        change = steps.make_change(proposal)

        assert proposal.groups.tolist() == [-1]
        assert change.published.groups.tolist() == [0]
        assert sorted(change.published.slots.tolist()) == [0, 1, 2]
        assert change.published.rows["lsn"].tolist() == [manager.table.totals.lsn + 1]
        assert not manager.table.groups.count  # nothing changes before it is durable


async def test_a_group_whose_member_changed_meanwhile_is_left_out() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(3):
            await households.upsert(device)
            await households.upsert(device, direction=7, number=2, contents=("play",))
        steps, proposal = propose(households)

        await households.upsert(1)

        assert len(proposal.sizes) == 2
        published = steps.make_change(proposal).published
        assert published.sizes.tolist() == [3]
        changed = int(manager.table.patterns["lsn"].argmax())
        assert changed in proposal.slots
        assert changed not in published.slots


async def test_a_group_with_a_device_that_ceased_to_count_is_left_out() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(3):
            await households.upsert(device)
        steps, proposal = propose(households)

        await manager.set_quarantine(device_id(2), quarantined=True)

        assert steps.make_change(proposal).is_empty


async def test_a_revision_keeps_the_success_of_the_first_and_is_due_once_enough_changed() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(3):
            await households.upsert(device, success_rate=0.9)
        await households.run_epoch()
        groups = manager.table.groups
        first = groups.rows[0].copy()
        steps = EpochSteps(manager.table, RULES, b"secret")
        for device in range(3):
            due, _ = steps.propose_revisions(groups.find_members(np.array([0])), NOW)
            assert not len(due.groups)
            await households.upsert(device, success_rate=1.0)

        due, unsupported = steps.propose_revisions(groups.find_members(np.array([0])), NOW)

        assert due.groups.tolist() == [0]
        assert due.rows["success_rate"][0] == first["success_rate"]
        assert due.rows["reserved"].tolist() == [1]
        assert not len(unsupported)


async def test_a_group_that_too_few_members_support_is_to_be_dissolved() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(3):
            await households.upsert(device)
        await households.run_epoch()
        steps = EpochSteps(manager.table, RULES, b"secret")

        await households.upsert(0, success_rate=0.75)  # stored, and shown to nobody

        members = manager.table.groups.find_members(np.array([0]))
        _, unsupported = steps.propose_revisions(members, NOW)
        assert unsupported.tolist() == [0]


async def test_a_revision_of_a_group_that_was_dissolved_meanwhile_is_left_out() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(4):
            await households.upsert(device)
        await households.run_epoch()
        groups, steps = manager.table.groups, EpochSteps(manager.table, RULES, b"secret")
        for device in range(3):
            await households.upsert(device)
        due, _ = steps.propose_revisions(groups.find_members(np.array([0])), NOW)

        await households.remove(3)

        assert due.groups.tolist() == [0]
        assert steps.make_change(due).is_empty
