"""Wherever a federation crashes, the ledger never lets it spend more than its budget."""

from __future__ import annotations

import asyncio
import tempfile
from enum import Enum, auto
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.federated.contribution import ContributionBounds
from constellation.federated.weeks import find_week, find_week_start
from federation.journal.contract import RoundOutput
from federation.journal.sqlite import open_sqlite_journal
from federation.privacy import gaussian
from federation.privacy.budget import Mechanism, make_budget
from federation.privacy.mode import PrivacyMode
from federation.round_report import RoundState
from tests.federation.journal.samples import (
    make_published_round,
    make_publishing_round,
    make_pulling_round,
)

BUDGET = make_budget(2.0, 1e-10, gaussian)
BOUNDS = ContributionBounds(32, 4)
FIRST_WEEK = 2965


class Crash(Enum):
    """Where the process that runs a round ends."""

    NEVER = auto()
    AFTER_BEGINNING = auto()
    BEFORE_SAVING = auto()
    AFTER_SAVING = auto()
    AFTER_PUBLISHING = auto()


ROUNDS = st.lists(
    st.tuples(
        st.floats(0, 3 * 7 * 24, exclude_max=True),
        st.lists(st.tuples(st.sampled_from(Mechanism), st.integers(0, 40)), max_size=4),
        st.sampled_from(Crash),
    ),
    max_size=12,
)


class World:
    """A federation that is started again after each crash, and everybody who hears of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.published: dict[int, bytes] = {}
        """By round: the noised bytes that shards received."""
        self.released: dict[tuple[str, int], bytes] = {}
        """By data: the bytes in which its noise was published first."""

    async def run(
        self, hours: float, releases: list[tuple[Mechanism, int]], crash: Crash, turn: int
    ) -> None:
        """Start, publish what an earlier process saved, and run one round until the crash."""
        async with open_sqlite_journal(self._folder) as journal:
            await journal.become_active()
            mode = PrivacyMode(BUDGET, gaussian)
            mode.restore(await journal.read_ledger())
            newest = await journal.read_newest()
            if newest is not None and newest.state is RoundState.PUBLISHING:
                result = await journal.read_result()
                assert result is not None
                self.publish(*result)
                await journal.close_round(make_published_round(newest.round_id))
                assert len(await journal.read_ledger()) == len(mode.ledger.rows)  # spends nothing
            is_again = newest is not None and newest.state is RoundState.PULLING
            round_id = 1 if newest is None else newest.round_id + (not is_again)
            await journal.begin_round(make_pulling_round(round_id))
            if crash is Crash.AFTER_BEGINNING:
                return
            plan = mode.plan(round_id, find_week_start(FIRST_WEEK) + hours * 3600)
            for mechanism, epoch in dict.fromkeys(releases):
                if not plan.ledger.has(mechanism, epoch):
                    plan.spend(mechanism, epoch, BOUNDS)
            if crash is Crash.BEFORE_SAVING:
                return
            names = [f"{row.mechanism}:{row.data_epoch}" for row in plan.rows]
            payload = f"{turn} {' '.join(names)}".encode()
            output = RoundOutput(payload, b"{}", {}, plan.rows)
            await journal.save_result(make_publishing_round(round_id), output)
            mode.adopt(plan.rows)
            if crash is Crash.AFTER_SAVING:
                return
            self.publish(round_id, payload)
            if crash is not Crash.AFTER_PUBLISHING:
                await journal.close_round(make_published_round(round_id))

    def publish(self, round_id: int, payload: bytes) -> None:
        """Hear of a round: what was heard of it before must be the same bytes."""
        assert self.published.setdefault(round_id, payload) == payload
        for name in payload.decode().split()[1:]:
            mechanism, _, epoch = name.partition(":")
            assert self.released.setdefault((mechanism, int(epoch)), payload) == payload

    async def check(self) -> None:
        """Compare what was published with the ledger."""
        async with open_sqlite_journal(self._folder) as journal:
            await journal.become_active()
            rows = await journal.read_ledger()
        recorded = {(row.mechanism.value, row.data_epoch) for row in rows}
        assert self.released.keys() <= recorded
        for week in {row.week for row in rows}:
            assert sum(row.units for row in rows if row.week == week) <= BUDGET.units
        assert all(row.week == find_week(row.spent_at) for row in rows)


@settings(max_examples=40, deadline=None)
@given(rounds=ROUNDS)
def test_crashes_never_spend_more_than_the_budget_nor_release_data_twice(
    rounds: list[tuple[float, list[tuple[Mechanism, int]], Crash]],
) -> None:
    async def live() -> None:
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder))
            for turn, (hours, releases, crash) in enumerate(rounds):
                await world.run(hours, releases, crash, turn)
            await world.check()

    asyncio.run(live())
