"""What every kind of journal does."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from constellation.errors import NotReadyError
from federation.journal.contract import (
    MAX_RESULT_BYTES,
    MAX_ROUNDS,
    RoundOutput,
    RoundRecord,
)
from federation.round_report import RoundState
from tests.federation.journal.samples import (
    JournalLocation,
    has_outcome,
    make_no_quorum_round,
    make_outcome,
    make_published_round,
    make_publishing_round,
    make_pulling_round,
    run_round,
)

if TYPE_CHECKING:
    from federation.journal.contract import Journal


async def test_a_new_journal_is_empty(journal: Journal) -> None:
    assert await journal.read_newest() is None
    assert await journal.read_round(1) is None
    assert await journal.read_rounds(None, 10) == []
    assert await journal.read_result() is None
    assert await journal.read_model_state() is None
    assert await journal.read_aggregates() == {}


async def test_the_generation_is_when_the_journal_was_made(location: JournalLocation) -> None:
    before = time.time_ns() // 1_000_000

    async with location.open() as journal:
        await journal.become_active()
        generation = await journal.read_generation()
        await run_round(journal, 1)
        assert await journal.read_generation() == generation

    assert before <= generation <= time.time_ns() // 1_000_000


async def test_nothing_is_done_before_becoming_active(location: JournalLocation) -> None:
    async with location.open() as journal:
        calls = (
            journal.stay_active_forever(),
            journal.read_generation(),
            journal.read_newest(),
            journal.read_round(1),
            journal.read_rounds(None, 1),
            journal.read_result(),
            journal.read_model_state(),
            journal.read_aggregates(),
            journal.begin_round(make_pulling_round(1)),
            journal.save_result(make_publishing_round(1), make_outcome(1)),
            journal.close_round(make_no_quorum_round(1)),
            journal.delete_aggregates([1]),
        )
        for call in calls:
            with pytest.raises(NotReadyError, match="not the active one yet"):
                await call


async def test_becoming_active_again_changes_nothing(journal: Journal) -> None:
    await run_round(journal, 1, 7)

    await journal.become_active()

    assert await journal.read_newest() == make_published_round(1)


async def test_a_round_goes_from_pulling_to_published(journal: Journal) -> None:
    await journal.begin_round(make_pulling_round(1))
    assert await journal.read_newest() == make_pulling_round(1)
    assert await journal.read_result() is None

    await journal.save_result(make_publishing_round(1), make_outcome(1, 7, 9))
    assert await journal.read_newest() == make_publishing_round(1)
    assert await journal.read_result() == (1, make_outcome(1).result)
    assert await has_outcome(journal, make_outcome(1, 7, 9))

    await journal.close_round(make_publishing_round(1, b"two shards have it"))
    assert await journal.read_newest() == make_publishing_round(1, b"two shards have it")
    await journal.close_round(make_published_round(1))
    assert await journal.read_round(1) == make_published_round(1)
    assert await has_outcome(journal, make_outcome(1, 7, 9))


async def test_a_round_without_quorum_leaves_the_last_result(journal: Journal) -> None:
    await run_round(journal, 1, 7)
    await journal.begin_round(make_pulling_round(2))

    await journal.close_round(make_no_quorum_round(2))

    assert await journal.read_newest() == make_no_quorum_round(2)
    assert await journal.read_result() == (1, make_outcome(1).result)
    assert await has_outcome(journal, make_outcome(1, 7))


async def test_a_saved_round_replaces_the_aggregates_it_names(journal: Journal) -> None:
    await run_round(journal, 1, 3, 7, 2**32 - 1)

    await run_round(journal, 2, 7, 8)

    assert await journal.read_result() == (2, make_outcome(2).result)
    assert await journal.read_aggregates() == {
        **make_outcome(1, 3, 2**32 - 1).aggregates,
        **make_outcome(2, 7, 8).aggregates,
    }


async def test_a_saved_round_removes_the_parts_that_it_replaces(journal: Journal) -> None:
    await run_round(journal, 1, 3, 7, 8)
    outcome = replace(make_outcome(2, 8), removed_aggregates=[3, 8, 99])

    await journal.begin_round(make_pulling_round(2))
    for _ in range(2):
        await journal.save_result(make_publishing_round(2), outcome)

    assert await journal.read_aggregates() == {
        **make_outcome(1, 7).aggregates,
        **make_outcome(2, 8).aggregates,
    }


async def test_forgotten_aggregates_are_gone(journal: Journal) -> None:
    await run_round(journal, 1, 3, 7, 8)

    for _ in range(2):
        await journal.delete_aggregates([3, 8, 99])
    await journal.delete_aggregates([])

    assert await journal.read_aggregates() == make_outcome(1, 7).aggregates


async def test_a_round_that_was_interrupted_begins_again(journal: Journal) -> None:
    await journal.begin_round(make_pulling_round(1))
    again = RoundRecord(1, RoundState.PULLING, 1_760_000_000.5, b"again")

    await journal.begin_round(again)

    assert await journal.read_rounds(None, 10) == [again]


async def test_every_write_may_be_repeated(journal: Journal) -> None:
    for _ in range(2):
        await journal.begin_round(make_pulling_round(1))
    for _ in range(2):
        await journal.save_result(make_publishing_round(1), make_outcome(1, 7))
    for _ in range(2):
        await journal.close_round(make_published_round(1))

    assert await journal.read_rounds(None, 10) == [make_published_round(1)]
    assert await has_outcome(journal, make_outcome(1, 7))


async def test_rounds_come_in_pages_newest_first(journal: Journal) -> None:
    for round_id in range(1, 6):
        await run_round(journal, round_id)

    assert await journal.read_rounds(None, 2) == [make_published_round(5), make_published_round(4)]
    assert await journal.read_rounds(4, 2) == [make_published_round(3), make_published_round(2)]
    assert await journal.read_rounds(2, 2) == [make_published_round(1)]
    assert await journal.read_rounds(1, 2) == []
    assert await journal.read_round(3) == make_published_round(3)
    assert await journal.read_round(6) is None


async def test_old_rounds_go_and_the_last_result_stays(journal: Journal) -> None:
    await run_round(journal, 1, 7)
    for round_id in range(2, MAX_ROUNDS + 3):
        await journal.begin_round(make_pulling_round(round_id))

    rounds = await journal.read_rounds(None, 2 * MAX_ROUNDS)

    assert [record.round_id for record in rounds] == list(range(MAX_ROUNDS + 2, 2, -1))
    assert await journal.read_round(2) is None
    assert await journal.read_result() == (1, make_outcome(1).result)
    assert await has_outcome(journal, make_outcome(1, 7))


@pytest.mark.parametrize(
    "record",
    [
        make_pulling_round(2),
        make_pulling_round(4),
        make_published_round(3),
        make_publishing_round(3),
    ],
)
async def test_only_the_next_round_begins(journal: Journal, record: RoundRecord) -> None:
    await run_round(journal, 1)
    await run_round(journal, 2)

    with pytest.raises(AssertionError, match="cannot begin after round 2"):
        await journal.begin_round(record)

    assert await journal.read_rounds(None, 10) == [make_published_round(2), make_published_round(1)]


async def test_the_first_round_is_number_one(journal: Journal) -> None:
    with pytest.raises(AssertionError, match=r"round 2 \(PULLING\) cannot begin after no round"):
        await journal.begin_round(make_pulling_round(2))


@pytest.mark.parametrize(
    "record",
    [
        make_publishing_round(1),
        make_publishing_round(3),
        make_published_round(2),
        make_pulling_round(2),
    ],
)
async def test_only_the_newest_round_can_be_saved(journal: Journal, record: RoundRecord) -> None:
    await run_round(journal, 1, 7)
    await journal.begin_round(make_pulling_round(2))

    with pytest.raises(AssertionError, match=r"cannot be saved after round 2 \(PULLING\)"):
        await journal.save_result(record, make_outcome(2, 7))

    assert await journal.read_newest() == make_pulling_round(2)
    assert await has_outcome(journal, make_outcome(1, 7))


async def test_a_closed_round_cannot_be_saved(journal: Journal) -> None:
    await run_round(journal, 1, 7)

    with pytest.raises(AssertionError, match="cannot be saved"):
        await journal.save_result(make_publishing_round(1), make_outcome(2, 7))

    assert await journal.read_newest() == make_published_round(1)
    assert await has_outcome(journal, make_outcome(1, 7))


async def test_a_round_is_closed_by_what_came_before(journal: Journal) -> None:
    await journal.begin_round(make_pulling_round(1))
    for record in (
        make_published_round(1),
        make_publishing_round(1),
        make_pulling_round(1),
        make_no_quorum_round(2),
    ):
        with pytest.raises(AssertionError, match="cannot be closed"):
            await journal.close_round(record)

    await journal.save_result(make_publishing_round(1), make_outcome(1))
    for record in (make_no_quorum_round(1), make_pulling_round(1), make_published_round(2)):
        with pytest.raises(AssertionError, match="cannot be closed"):
            await journal.close_round(record)

    assert await journal.read_newest() == make_publishing_round(1)


async def test_an_empty_and_the_largest_result_come_back(journal: Journal) -> None:
    await journal.begin_round(make_pulling_round(1, b""))
    for made in (
        RoundOutput(b"", b"", {1: b""}),
        RoundOutput(bytes(MAX_RESULT_BYTES), b"\0\xff", {}),
    ):
        await journal.save_result(make_publishing_round(1, b""), made)
        assert await journal.read_result() == (1, made.result)
        assert await journal.read_model_state() == made.model_state

    assert await journal.read_newest() == make_publishing_round(1, b"")
    assert await journal.read_aggregates() == {1: b""}


def test_a_result_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="a result has at most 16777216 bytes, got 16777217"):
        RoundOutput(bytes(MAX_RESULT_BYTES + 1), b"", {})


async def test_everything_is_there_the_next_time(shared_location: JournalLocation) -> None:
    async with shared_location.open() as journal:
        await journal.become_active()
        generation = await journal.read_generation()
        await run_round(journal, 1, 7, 8)
        await journal.begin_round(make_pulling_round(2))

    async with shared_location.open() as journal:
        await journal.become_active()
        assert await journal.read_generation() == generation
        assert await journal.read_rounds(None, 10) == [
            make_pulling_round(2),
            make_published_round(1),
        ]
        assert await has_outcome(journal, make_outcome(1, 7, 8))
