"""A federation in the differentially private mode that is killed, with real processes."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from constellation.config import NonNegative
from federation.journal.open import open_journal
from federation.privacy.budget import Mechanism
from tests.federation.fleet import (
    get_address,
    make_drama_device,
    push_devices,
    run_federation,
    run_round,
    run_shards,
)
from tests.scenarios.killed_federation import KILL_POINTS
from tests.scenarios.test_federation import SETTLED_POINTS, run_until_killed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from federation.privacy.ledger import LedgerRow

EPSILON = 8


@pytest.fixture(params=["sqlite", "postgres"])
def journal_settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The settings of each kind of journal that survives a crash."""
    if request.param == "sqlite":
        return {"data_dir": tmp_path / "federation"}
    return {"postgres_url": request.getfixturevalue("postgres_url")}


async def read_ledger(settings: dict[str, Any]) -> Sequence[LedgerRow]:
    async with open_journal(settings.get("data_dir"), settings.get("postgres_url")) as journal:
        await journal.become_active()
        return await journal.read_ledger()


@pytest.mark.parametrize("point", KILL_POINTS)
async def test_whatever_is_released_is_released_once_whenever_its_federation_dies(
    point: str, journal_settings: dict[str, Any]
) -> None:
    async with run_shards(2, differential_privacy=True) as fleet:
        for number, shard in enumerate(fleet):
            await push_devices(shard, [make_drama_device(100 * number + each) for each in range(6)])

        killed = {**journal_settings, "privacy_epsilon": EPSILON}
        assert await run_until_killed(point, fleet, killed) == -signal.SIGKILL

        left = await read_ledger(journal_settings)
        stored = [await each.manager.store.get_global() for each in fleet]
        settings = {**journal_settings, "privacy_epsilon": NonNegative(EPSILON)}
        async with run_federation([get_address(each) for each in fleet], **settings) as federation:
            republished = [await each.manager.store.get_global() for each in fleet]
            await run_round(federation)
            assert federation.rounds.privacy is not None
            rows, budget = federation.rounds.privacy.ledger.rows, federation.rounds.privacy.budget

    # Nothing reaches a shard before its row is durable, and it reaches every shard as it was.
    assert bool(left) == (point in SETTLED_POINTS)
    assert bool(left) or not any(stored)
    assert all(each == republished[0] for each in republished)
    assert all(each in (None, republished[0]) for each in stored)
    assert set(left) <= set(rows)
    assert [row.mechanism for row in rows].count(Mechanism.LIKES) == 1
    for week in {row.week for row in rows}:
        assert sum(row.units for row in rows if row.week == week) <= budget.units
