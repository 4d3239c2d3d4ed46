from __future__ import annotations

import structlog

from constellation.config import Count
from federation.low_floor import find_low_floor
from tests.federation.fleet import get_address, run_federation, run_round, run_shards


def test_a_floor_that_few_accomplices_get_around_is_named_with_its_limit() -> None:
    problem = find_low_floor(8, 5)

    assert problem.startswith("GLOBAL_K_ANONYMITY is 8: with K_ANONYMITY=5 at the shards, 4 accom")
    assert problem.endswith("Set it to at least 9, which is 2 K - 1")


def test_a_floor_that_is_high_enough_is_no_problem() -> None:
    assert not find_low_floor(9, 5)
    assert not find_low_floor(1, 1)


async def test_a_federation_warns_once_of_a_floor_below_what_its_shards_need() -> None:
    async with run_shards(2, k_anonymity=Count(7)) as shards:
        addresses = [get_address(shard) for shard in shards]
        with structlog.testing.capture_logs() as logs:
            async with run_federation(addresses, global_k_anonymity=Count(12)) as federation:
                await run_round(federation)
                await run_round(federation)

    (warning,) = [entry for entry in logs if entry["event"] == "floor_too_low"]
    assert warning["log_level"] == "warning"
    assert "with K_ANONYMITY=7 at the shards, 6 accomplices" in warning["problem"]


async def test_a_federation_whose_floor_is_high_enough_says_nothing() -> None:
    async with run_shards(2, k_anonymity=Count(3)) as shards:
        addresses = [get_address(shard) for shard in shards]
        with structlog.testing.capture_logs() as logs:
            async with run_federation(addresses, global_k_anonymity=Count(5)) as federation:
                await run_round(federation)

    assert not [entry for entry in logs if entry["event"] == "floor_too_low"]
