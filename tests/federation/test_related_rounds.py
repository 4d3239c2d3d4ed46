"""Rounds with related and popular content, over real gRPC with shards that count likes."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.config import Count, Interval, Seconds, Secret
from constellation.v1.federation_pb2 import SHARD_OUTCOME_REJECTED
from federation.shards.client import PullScope
from federation.shards.saved_parts import LIKES_PART
from tests.federation.fleet import get_address, run_federation, run_round
from tests.federation.journal.samples import JournalLocation
from tests.federation.liked import CountingShard, count_pairs, make_households, serve_shards

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.v1 import federation_pb2
    from federation.server import RunningFederation

SETTINGS: dict[str, Any] = {
    "related_interval_secs": Seconds(0),
    "related_contents": Count(30),
    "related_lambda": Count(20),
    "global_k_anonymity": Count(4),
}


def make_shards(count: int = 3) -> list[CountingShard]:
    regions = ("north", "south", "north", "west")
    return [
        CountingShard(number, make_households(60 + 20 * number, number), regions[number])
        for number in range(count)
    ]


def read_published(shard: CountingShard) -> tuple[bytes, list[bytes]]:
    """Return the related and the popular content of the global that a shard received last."""
    published = shard.read_global()
    return (
        published.related.SerializeToString(deterministic=True),
        [each.SerializeToString(deterministic=True) for each in published.popular],
    )


async def run_rounds(federation: RunningFederation, count: int) -> list[federation_pb2.Round]:
    return [await run_round(federation) for _ in range(count)]


async def test_two_rounds_bring_related_and_popular_content_to_every_shard() -> None:
    shards = make_shards()
    async with serve_shards(shards) as addresses, run_federation(addresses, **SETTINGS) as running:
        first, second = await run_rounds(running, 2)

    assert (first.dictionary_size, first.related_count, first.popular_count) == (30, 0, 3)
    assert (second.dictionary_size, second.related_count, second.popular_count) == (30, 30, 3)
    assert second.related_changed_count == 30
    assert second.contributors == 60 + 80 + 100
    assert second.HasField("solve_time")
    assert len({read_published(shard)[0] for shard in shards}) == 1
    published = shards[0].read_global()
    assert [each.region for each in published.popular] == ["", "north", "south"]
    assert len(published.related.rows.ids) == 30 * 16


async def test_likes_are_asked_for_until_rows_are_solved_and_then_once_in_an_interval() -> None:
    shards = make_shards(2)
    settings = {**SETTINGS, "related_interval_secs": Seconds(86_400)}
    async with serve_shards(shards) as addresses, run_federation(addresses, **settings) as running:
        reports = await run_rounds(running, 4)

    asked = [request.include_likes for request in shards[0].pulls]
    assert asked == [True, True, False, False]
    assert [report.HasField("solve_time") for report in reports] == asked
    assert [report.related_count for report in reports[1:]] == [30] * 3
    assert [report.contributors for report in reports[2:]] == [0, 0]
    assert reports[3].related_changed_count == 0


async def test_a_pull_of_likes_builds_on_the_last_pull_of_likes() -> None:
    shards = make_shards(2)
    async with serve_shards(shards) as addresses, run_federation(addresses, **SETTINGS) as running:
        await run_rounds(running, 2)
        with_likes = shards[0].version
        shards[0].add(frozenset({"film:1", "film:5"}))
        await running.rounds.sweep(PullScope())
        shards[0].add(frozenset({"film:2", "film:6"}))
        await run_round(running)
        known = running.rounds.fleet.aggregates[0]

    assert [each.version for each in shards[0].pulls[-2].known_versions if not each.shard_id] == [
        with_likes
    ]
    assert [each.version for each in shards[0].pulls[-1].known_versions if not each.shard_id] == [
        with_likes
    ]
    assert known.likes is not None
    expected = count_pairs(shards[0].households, shards[0].dictionary)
    assert known.likes.pairs.columns.tolist() == expected.columns.tolist()
    assert known.likes.pairs.devices.tolist() == expected.devices.tolist()


async def test_a_federation_above_relays_publishes_the_bits_of_a_flat_one() -> None:
    flat, below = make_shards(4), make_shards(4)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        running = await enter(run_federation(await enter(serve_shards(flat)), **SETTINGS))
        addresses = await enter(serve_shards(below))
        relays = [
            await enter(run_federation(half, relay=True, **SETTINGS))
            for half in (addresses[:1], addresses[1:])
        ]
        above = await enter(
            run_federation([], relay_addrs=[get_address(each) for each in relays], **SETTINGS)
        )
        found = []
        for number in range(4):
            await run_round(running)
            await run_round(above)
            found.append((read_published(flat[0]), read_published(below[3])))
            for shards in (flat, below):
                shards[number].add(*make_households(40, 100 + number))

    assert all(ours == theirs for ours, theirs in found)
    related = [ours[0] for ours, _ in found]
    assert len(set(related)) >= 3  # the comparison was of rows that changed


async def test_a_shard_that_is_unavailable_counts_by_its_last_likes() -> None:
    shards = make_shards()
    settings = {**SETTINGS, "pull_timeout_seconds": Interval(1)}
    async with serve_shards(shards) as addresses, run_federation(addresses, **settings) as running:
        await run_rounds(running, 2)
        before = read_published(shards[1])
        shards[0].errors = [grpc.StatusCode.INTERNAL]
        report = await run_round(running)

    assert report.coverage.shards_stale == 1
    assert report.contributors == 60 + 80 + 100
    assert read_published(shards[1]) == before


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_restart_goes_on_from_the_journal(
    kind: str, tmp_path: Path, postgres_url: str
) -> None:
    where: dict[str, Any] = {"data_dir": tmp_path}
    if kind == "postgres":
        where = {"postgres_url": Secret(postgres_url)}
    shards = make_shards()
    settings = {**SETTINGS, **where, "related_interval_secs": Seconds(86_400)}
    async with serve_shards(shards) as addresses:
        async with run_federation(addresses, **settings) as running:
            await run_rounds(running, 2)
            before = read_published(shards[0])
            pairs = [e.likes.pairs.devices.tobytes() for e in read_aggregates(running)]
        async with run_federation(addresses, **settings) as running:
            restored = [e.likes.pairs.devices.tobytes() for e in read_aggregates(running)]
            report = await run_round(running)

    assert restored == pairs
    assert not shards[0].pulls[-1].include_likes
    assert read_published(shards[0]) == before
    assert (report.related_count, report.related_changed_count) == (30, 0)


def read_aggregates(running: RunningFederation) -> list[Any]:
    aggregates = running.rounds.fleet.aggregates
    return [aggregates[shard_id] for shard_id in sorted(aggregates)]


async def test_the_journal_gets_likes_only_in_rounds_that_asked_for_them() -> None:
    shards = make_shards(2)
    settings = {**SETTINGS, "related_interval_secs": Seconds(86_400)}
    written: list[set[int]] = []
    async with serve_shards(shards) as addresses, run_federation(addresses, **settings) as running:
        for _ in range(3):
            await running.rounds.sweep(running.rounds._make_scope())
            written.append(set(running.rounds.fleet.take_changes().written))
            await run_round(running)

    likes = [{part for part in parts if part // LIKES_PART == 1} for parts in written]
    assert likes == [{LIKES_PART, LIKES_PART + 1}, {LIKES_PART, LIKES_PART + 1}, set()]
    assert all({part % LIKES_PART for part in parts} == {0, 1} for parts in written)


async def test_shards_that_are_not_configured_any_more_are_forgotten_with_their_likes(
    tmp_path: Path,
) -> None:
    shards = make_shards()
    async with serve_shards(shards) as addresses:
        async with run_federation(addresses, data_dir=tmp_path, **SETTINGS) as running:
            await run_rounds(running, 2)
        async with run_federation(addresses[:2], data_dir=tmp_path, **SETTINGS) as running:
            report = await run_round(running)
    async with JournalLocation(tmp_path).open() as journal:
        await journal.become_active()
        stored = await journal.read_aggregates()

    assert report.contributors == 60 + 80
    assert {part % LIKES_PART for part in stored} == {0, 1}
    assert {0, 1, LIKES_PART, LIKES_PART + 1} <= set(stored)


async def test_more_devices_of_a_pair_than_of_its_contents_are_refused_by_name() -> None:
    shards = make_shards()
    async with serve_shards(shards) as addresses, run_federation(addresses, **SETTINGS) as running:
        await run_rounds(running, 2)
        before = read_published(shards[0])
        shards[1].exaggerated_devices = 70
        report = await run_round(running)

    (refused,) = [each for each in report.shards if each.outcome == SHARD_OUTCOME_REJECTED]
    assert refused.address == addresses[1]
    first, second = shards[1].dictionary[:2]
    assert f"70 devices that like both {first!r} and {second!r}, but only " in refused.problem
    assert read_published(shards[0]) == before


async def test_a_household_that_withdraws_its_likes_is_gone_from_the_next_sums() -> None:
    shards = make_shards(2)
    async with serve_shards(shards) as addresses, run_federation(addresses, **SETTINGS) as running:
        await run_rounds(running, 2)
        shards[0].households = shards[0].households[:-10]
        shards[0].version += 1
        report = await run_round(running)
        known = running.rounds.fleet.aggregates[0]

    assert report.contributors == 50 + 80
    assert known.likes is not None
    expected = count_pairs(shards[0].households, shards[0].dictionary)
    assert known.likes.pairs.devices.tolist() == expected.devices.tolist()


async def test_a_shard_that_offers_no_likes_takes_part_all_the_same() -> None:
    shards = [*make_shards(2), CountingShard(2, [])]
    async with serve_shards(shards) as addresses, run_federation(addresses, **SETTINGS) as running:
        _, second = await run_rounds(running, 2)

    assert second.coverage.shards_fresh == 3
    assert second.related_count == 30
