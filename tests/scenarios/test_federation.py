"""A federation that crashes, and two that compete, with real processes, shards and journals."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from federation.journal.open import open_journal
from federation.round_report import RoundState
from tests.federation.fleet import (
    get_address,
    make_drama_device,
    push_devices,
    run_federation,
    run_round,
    run_shards,
)
from tests.scenarios.killed_federation import KILL_POINTS
from tests.scenarios.processes import COMMAND_DIR, make_environment, wait_for_event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from constellation.server import RunningShard

ROOT = Path(__file__).parents[2]
SETTLED_POINTS = KILL_POINTS[2:]
"""Kill points after the result was saved, so that it must not change any more."""


def make_settings(
    fleet: list[RunningShard], journal_settings: Mapping[str, object]
) -> dict[str, str]:
    return make_environment(
        shard_addrs=",".join(get_address(each) for each in fleet),
        min_shards=2,
        global_k_anonymity=4,
        candidate_devices=2,
        trend_floor=1,
        trend_surprise=0,
        federation_interval_secs=0,
        **journal_settings,
    )


@pytest.fixture(params=["sqlite", "postgres"])
def journal_settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, object]:
    """The settings of each kind of journal that survives a crash."""
    if request.param == "sqlite":
        return {"data_dir": tmp_path / "federation"}
    return {"postgres_url": request.getfixturevalue("postgres_url")}


@pytest.mark.parametrize("point", KILL_POINTS)
async def test_a_round_is_published_exactly_once_whenever_its_federation_dies(
    point: str, journal_settings: dict[str, object]
) -> None:
    async with run_shards(2) as fleet:
        for number, shard in enumerate(fleet):
            await push_devices(shard, [make_drama_device(100 * number + each) for each in range(6)])

        assert await run_until_killed(point, fleet, journal_settings) == -signal.SIGKILL

        data_dir, url = journal_settings.get("data_dir"), journal_settings.get("postgres_url")
        async with open_journal(data_dir, url) as journal:  # type: ignore[arg-type]
            await journal.become_active()
            left, newest = await journal.read_result(), await journal.read_newest()
        async with run_federation(
            [get_address(each) for each in fleet], **journal_settings
        ) as federation:
            adopted = [each.manager.global_state.round.round_id for each in fleet]
            stored = [await each.manager.store.get_global() for each in fleet]
            next_round = await run_round(federation)

        assert newest is not None
        assert (left is not None) == (point in SETTLED_POINTS)
        if point in SETTLED_POINTS:
            assert left is not None
            assert adopted == [1, 1]
            assert [each.payload for each in stored if each] == [left[1]] * 2
            assert next_round.round_id == 2
        else:
            assert newest.state is RoundState.PULLING
            assert adopted == [0, 0]
            assert next_round.round_id == 1
        versions = [each.manager.global_state.version.version for each in fleet]
        assert versions == [next_round.round_id] * 2  # one version for each round


async def run_until_killed(
    point: str, fleet: list[RunningShard], journal_settings: dict[str, object]
) -> int:
    """Run a federation that is killed at a point of its round; return its exit status."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.scenarios.killed_federation",
        point,
        cwd=ROOT,
        env=make_settings(fleet, journal_settings),
        stderr=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(30):
        return await process.wait()


async def test_one_round_from_the_command_line_prints_its_coverage(tmp_path: Path) -> None:
    async with run_shards(2) as fleet:
        for number, shard in enumerate(fleet):
            await push_devices(shard, [make_drama_device(100 * number + each) for each in range(6)])

        status, out, _ = await run_with_fleet(fleet, {"data_dir": tmp_path}, "round", "--once")
        again, more, _ = await run_with_fleet(fleet, {"data_dir": tmp_path}, "round", "--once")

    assert status == again == 0
    assert "Round 1" in out
    assert "Round 2" in more
    assert "2 of 2 shards fresh; 12 of 12 devices (100%)" in out
    assert "1 cluster of 1 anchor" in more


async def test_one_round_without_a_quorum_prints_the_missing_shard(tmp_path: Path) -> None:
    async with run_shards(1) as fleet:
        env = make_settings(fleet, {"data_dir": tmp_path})
        env["SHARD_ADDRS"] += ",127.0.0.1:1"
        env["PULL_TIMEOUT_SECONDS"] = "1"

        status, out, err = await run_federation_command(env, "round", "--once")

    assert status == 1
    assert "1 of 2 shards fresh" in out
    assert "missing" in out
    assert "not published: no quorum" in out
    assert "MIN_SHARDS is 2" in err


async def test_a_second_federation_waits_and_takes_over(tmp_path: Path) -> None:
    async with run_shards(2) as fleet:
        addresses = [get_address(each) for each in fleet]
        async with run_federation(addresses, data_dir=tmp_path):
            status, _, err = await run_with_fleet(fleet, {"data_dir": tmp_path}, "round", "--once")

        after, out, why = await run_with_fleet(fleet, {"data_dir": tmp_path}, "round", "--once")

    assert status == 1
    assert "another federation is active" in err
    assert after == 0, why
    assert "Round 1" in out


async def test_a_federation_ends_once_its_journal_is_removed(tmp_path: Path) -> None:
    async with run_shards(1) as fleet:
        process = await asyncio.create_subprocess_exec(
            *(COMMAND_DIR / "federation", "run"),
            env=make_settings(fleet, {"data_dir": tmp_path / "data", "grpc_addr": "127.0.0.1:0"}),
            stderr=asyncio.subprocess.PIPE,
        )
        await wait_for_event(process, "federation_active")

        shutil.rmtree(tmp_path / "data")

        async with asyncio.timeout(30):
            _, err = await process.communicate()

    assert process.returncode == 1
    assert re.search(rb"data/federation\.db\S* was removed or replaced while it was open", err), err
    assert b"Traceback" not in err


async def test_all_bad_settings_are_reported_together() -> None:
    env = make_environment(min_coverage=3, robust_merge="median")

    status, _, err = await run_federation_command(env, "run")

    assert status == 2
    for part in ("MIN_COVERAGE: must be", "ROBUST_MERGE: must be"):
        assert part in err


async def test_all_numbers_that_are_out_of_range_are_reported_together() -> None:
    env = make_environment(candidates_per_shard=5000, patterns_per_shard=5000)

    status, _, err = await run_federation_command(env, "run")

    assert status == 2
    for part in ("CANDIDATES_PER_SHARD: must be from", "PATTERNS_PER_SHARD: must be from"):
        assert part in err


async def test_a_federation_without_shards_says_what_it_needs() -> None:
    status, _, err = await run_federation_command(make_environment(), "run")

    assert status == 2
    assert "SHARD_ADDRS or RELAY_ADDRS is required" in err


async def test_one_round_needs_a_journal_that_lasts() -> None:
    status, _, err = await run_federation_command(
        make_environment(shard_addrs="127.0.0.1:1"), "round", "--once"
    )

    assert status == 2
    assert "DATA_DIR or POSTGRES_URL is required" in err


async def test_asking_a_federation_that_does_not_run_says_so() -> None:
    env = make_environment(shard_addrs="127.0.0.1:1", grpc_addr="127.0.0.1:1")

    status, _, err = await run_federation_command(env, "round")

    assert status == 1
    assert "no federation is reachable at GRPC_ADDR=127.0.0.1:1" in err


async def run_with_fleet(
    fleet: list[RunningShard], journal_settings: Mapping[str, object], *arguments: str
) -> tuple[int, str, str]:
    return await run_federation_command(make_settings(fleet, journal_settings), *arguments)


async def run_federation_command(env: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run the `federation` command; return its status, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        COMMAND_DIR / "federation",
        *arguments,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
