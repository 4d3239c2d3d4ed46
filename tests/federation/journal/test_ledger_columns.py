"""The ledger of every kind of journal."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from federation.journal.contract import RoundOutput
from federation.privacy.budget import Mechanism
from federation.privacy.ledger import LEDGER_WEEKS, LedgerRow
from tests.federation.journal.samples import (
    JournalLocation,
    make_published_round,
    make_publishing_round,
    make_pulling_round,
)

if TYPE_CHECKING:
    from federation.journal.contract import Journal


def make_row(
    round_id: int, mechanism: Mechanism = Mechanism.HOURS, epoch: int = 498_217, week: int = 2965
) -> LedgerRow:
    return LedgerRow(mechanism, epoch, week, 2**39 + 1, 85.328125, 496, round_id, 1.75e9 + 1 / 3)


async def save(journal: Journal, round_id: int, *rows: LedgerRow) -> None:
    """Run a round that spends these rows."""
    await journal.begin_round(make_pulling_round(round_id))
    output = RoundOutput(b"%d" % round_id, b"{}", {}, rows)
    await journal.save_result(make_publishing_round(round_id), output)
    await journal.close_round(make_published_round(round_id))


async def test_the_ledger_survives_with_every_bit(location: JournalLocation) -> None:
    rows = [make_row(1), make_row(1, Mechanism.LIKES, 2965), make_row(1, Mechanism.PAIRS, 2965)]
    async with location.open() as journal:
        await journal.become_active()
        assert await journal.read_ledger() == []
        await save(journal, 1, *rows)
        assert sorted(await journal.read_ledger(), key=str) == sorted(rows, key=str)
    if location.data_dir is None and location.postgres_url is None:
        return  # memory

    async with location.open() as later:
        await later.become_active()
        assert sorted(await later.read_ledger(), key=str) == sorted(rows, key=str)


async def test_a_write_that_is_repeated_spends_once(journal: Journal) -> None:
    await journal.begin_round(make_pulling_round(1))
    output = RoundOutput(b"1", b"{}", {}, [make_row(1)])

    for _ in range(2):
        await journal.save_result(make_publishing_round(1), output)

    assert await journal.read_ledger() == [make_row(1)]


async def test_a_second_release_of_the_same_data_saves_nothing(journal: Journal) -> None:
    await save(journal, 1, make_row(1))
    await journal.begin_round(make_pulling_round(2))
    again = RoundOutput(b"2", b"{}", {}, [make_row(2, epoch=498_218), replace(make_row(2))])

    with pytest.raises(AssertionError, match="hours 498217 was released before"):
        await journal.save_result(make_publishing_round(2), again)

    assert await journal.read_ledger() == [make_row(1)]
    assert await journal.read_result() == (1, b"1")
    assert await journal.read_newest() == make_pulling_round(2)


async def test_a_round_without_releases_leaves_the_ledger(journal: Journal) -> None:
    await save(journal, 1, make_row(1))

    await save(journal, 2)

    assert await journal.read_ledger() == [make_row(1)]


async def test_rows_go_after_a_year(journal: Journal) -> None:
    await save(journal, 1, make_row(1, epoch=1, week=1), make_row(1, epoch=2, week=2))

    last = make_row(2, epoch=9, week=LEDGER_WEEKS + 1)
    await save(journal, 2, last)

    assert await journal.read_ledger() == [make_row(1, epoch=2, week=2), last]
