"""What every kind of journal does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from constellation.errors import NotReadyError
from federation.journal.contract import (
    KEPT_ROUNDS,
    MAX_RESULT_BYTES,
    Outcome,
    RoundRecord,
    RoundState,
)
from tests.federation.journal.samples import (
    Place,
    holds,
    no_quorum,
    outcome,
    published,
    publishing,
    pulling,
    run_round,
)

if TYPE_CHECKING:
    from federation.journal.contract import Journal


async def test_a_new_journal_is_empty(journal: Journal) -> None:
    assert await journal.newest() is None
    assert await journal.get(1) is None
    assert await journal.page(None, 10) == []
    assert await journal.result() is None
    assert await journal.memory() is None
    assert await journal.aggregates() == {}


async def test_the_generation_is_when_the_journal_was_made(place: Place) -> None:
    before = time.time_ns() // 1_000_000

    async with place.open() as journal:
        await journal.take()
        generation = await journal.generation()
        await run_round(journal, 1)
        assert await journal.generation() == generation

    assert before <= generation <= time.time_ns() // 1_000_000


async def test_nothing_is_done_before_the_journal_was_taken(place: Place) -> None:
    async with place.open() as journal:
        calls = (
            journal.hold_forever(),
            journal.generation(),
            journal.newest(),
            journal.get(1),
            journal.page(None, 1),
            journal.result(),
            journal.memory(),
            journal.aggregates(),
            journal.begin(pulling(1)),
            journal.settle(publishing(1), outcome(1)),
            journal.close(no_quorum(1)),
            journal.forget_aggregates([1]),
        )
        for call in calls:
            with pytest.raises(NotReadyError, match="not the active one yet"):
                await call


async def test_taking_it_again_changes_nothing(journal: Journal) -> None:
    await run_round(journal, 1, 7)

    await journal.take()

    assert await journal.newest() == published(1)


async def test_a_round_goes_from_pulling_to_published(journal: Journal) -> None:
    await journal.begin(pulling(1))
    assert await journal.newest() == pulling(1)
    assert await journal.result() is None

    await journal.settle(publishing(1), outcome(1, 7, 9))
    assert await journal.newest() == publishing(1)
    assert await journal.result() == (1, outcome(1).result)
    assert await holds(journal, outcome(1, 7, 9))

    await journal.close(publishing(1, b"two shards have it"))
    assert await journal.newest() == publishing(1, b"two shards have it")
    await journal.close(published(1))
    assert await journal.get(1) == published(1)
    assert await holds(journal, outcome(1, 7, 9))


async def test_a_round_without_quorum_leaves_the_last_result(journal: Journal) -> None:
    await run_round(journal, 1, 7)
    await journal.begin(pulling(2))

    await journal.close(no_quorum(2))

    assert await journal.newest() == no_quorum(2)
    assert await journal.result() == (1, outcome(1).result)
    assert await holds(journal, outcome(1, 7))


async def test_a_settled_round_replaces_the_aggregates_it_names(journal: Journal) -> None:
    await run_round(journal, 1, 3, 7, 2**32 - 1)

    await run_round(journal, 2, 7, 8)

    assert await journal.result() == (2, outcome(2).result)
    assert await journal.aggregates() == {
        **outcome(1, 3, 2**32 - 1).aggregates,
        **outcome(2, 7, 8).aggregates,
    }


async def test_forgotten_aggregates_are_gone(journal: Journal) -> None:
    await run_round(journal, 1, 3, 7, 8)

    for _ in range(2):
        await journal.forget_aggregates([3, 8, 99])
    await journal.forget_aggregates([])

    assert await journal.aggregates() == outcome(1, 7).aggregates


async def test_a_round_that_was_interrupted_begins_again(journal: Journal) -> None:
    await journal.begin(pulling(1))
    again = RoundRecord(1, RoundState.PULLING, 1_760_000_000.5, b"again")

    await journal.begin(again)

    assert await journal.page(None, 10) == [again]


async def test_every_write_may_be_repeated(journal: Journal) -> None:
    for _ in range(2):
        await journal.begin(pulling(1))
    for _ in range(2):
        await journal.settle(publishing(1), outcome(1, 7))
    for _ in range(2):
        await journal.close(published(1))

    assert await journal.page(None, 10) == [published(1)]
    assert await holds(journal, outcome(1, 7))


async def test_rounds_come_in_pages_newest_first(journal: Journal) -> None:
    for round_id in range(1, 6):
        await run_round(journal, round_id)

    assert await journal.page(None, 2) == [published(5), published(4)]
    assert await journal.page(4, 2) == [published(3), published(2)]
    assert await journal.page(2, 2) == [published(1)]
    assert await journal.page(1, 2) == []
    assert await journal.get(3) == published(3)
    assert await journal.get(6) is None


async def test_old_rounds_go_and_the_last_result_stays(journal: Journal) -> None:
    await run_round(journal, 1, 7)
    for round_id in range(2, KEPT_ROUNDS + 3):
        await journal.begin(pulling(round_id))

    rounds = await journal.page(None, 2 * KEPT_ROUNDS)

    assert [record.round_id for record in rounds] == list(range(KEPT_ROUNDS + 2, 2, -1))
    assert await journal.get(2) is None
    assert await journal.result() == (1, outcome(1).result)
    assert await holds(journal, outcome(1, 7))


@pytest.mark.parametrize("record", [pulling(2), pulling(4), published(3), publishing(3)])
async def test_only_the_next_round_begins(journal: Journal, record: RoundRecord) -> None:
    await run_round(journal, 1)
    await run_round(journal, 2)

    with pytest.raises(AssertionError, match="cannot begin after round 2"):
        await journal.begin(record)

    assert await journal.page(None, 10) == [published(2), published(1)]


async def test_the_first_round_is_number_one(journal: Journal) -> None:
    with pytest.raises(AssertionError, match=r"round 2 \(PULLING\) cannot begin after no round"):
        await journal.begin(pulling(2))


@pytest.mark.parametrize("record", [publishing(1), publishing(3), published(2), pulling(2)])
async def test_only_the_newest_round_is_settled(journal: Journal, record: RoundRecord) -> None:
    await run_round(journal, 1, 7)
    await journal.begin(pulling(2))

    with pytest.raises(AssertionError, match=r"cannot be settled after round 2 \(PULLING\)"):
        await journal.settle(record, outcome(2, 7))

    assert await journal.newest() == pulling(2)
    assert await holds(journal, outcome(1, 7))


async def test_a_closed_round_is_not_settled(journal: Journal) -> None:
    await run_round(journal, 1, 7)

    with pytest.raises(AssertionError, match="cannot be settled"):
        await journal.settle(publishing(1), outcome(2, 7))

    assert await journal.newest() == published(1)
    assert await holds(journal, outcome(1, 7))


async def test_a_round_is_closed_by_what_came_before(journal: Journal) -> None:
    await journal.begin(pulling(1))
    for record in (published(1), publishing(1), pulling(1), no_quorum(2)):
        with pytest.raises(AssertionError, match="cannot be closed"):
            await journal.close(record)

    await journal.settle(publishing(1), outcome(1))
    for record in (no_quorum(1), pulling(1), published(2)):
        with pytest.raises(AssertionError, match="cannot be closed"):
            await journal.close(record)

    assert await journal.newest() == publishing(1)


async def test_an_empty_and_the_largest_result_come_back(journal: Journal) -> None:
    await journal.begin(pulling(1, b""))
    for made in (Outcome(b"", b"", {1: b""}), Outcome(bytes(MAX_RESULT_BYTES), b"\0\xff", {})):
        await journal.settle(publishing(1, b""), made)
        assert await journal.result() == (1, made.result)
        assert await journal.memory() == made.memory

    assert await journal.newest() == publishing(1, b"")
    assert await journal.aggregates() == {1: b""}


def test_a_result_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="a result has at most 16777216 bytes, got 16777217"):
        Outcome(bytes(MAX_RESULT_BYTES + 1), b"", {})


async def test_everything_is_there_the_next_time(shared_place: Place) -> None:
    async with shared_place.open() as journal:
        await journal.take()
        generation = await journal.generation()
        await run_round(journal, 1, 7, 8)
        await journal.begin(pulling(2))

    async with shared_place.open() as journal:
        await journal.take()
        assert await journal.generation() == generation
        assert await journal.page(None, 10) == [pulling(2), published(1)]
        assert await holds(journal, outcome(1, 7, 8))
