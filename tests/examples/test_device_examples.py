"""The examples of the SDK, each as a process of its own against a shard on real gRPC."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.clients.catalogue_model import make_item
from tests.clients.stub_shard import StubShard, serve_stub

EXAMPLES = Path(__file__).parents[2] / "examples"
MAX_LINES = 50


@pytest.fixture
def stub() -> StubShard:
    stub = StubShard()
    stub.catalogue.add(*(make_item(f"{each % 4}-{each}", seed=each + 1) for each in range(40)))
    stub.model.catalogue_digest = stub.catalogue.digest
    return stub


async def run_example(name: str, *arguments: str) -> str:
    """Return what an example prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / name), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.parametrize(
    "name", ["first_television.py", "offline_week.py", "player_loop.py", "two_profiles.py"]
)
def test_an_example_is_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) <= MAX_LINES


async def test_a_first_television_and_its_offline_week(stub: StubShard, tmp_path: Path) -> None:
    async with serve_stub(stub) as address:
        first = await run_example("first_television.py", address, str(tmp_path))
        week = await run_example("offline_week.py", address, str(tmp_path))

    assert first.count(": New to you") >= 3
    assert "Because you watched Film" in first
    assert "40 content items, 1 liked, 0 deltas wait" in first
    assert week.count("\n") == 10
    assert "offline: not complete within 0.5 s" in week
    assert "1 delta waits in the file" in week
    assert "online: 0 deltas wait" in week
    assert len(stub.model.liked_ids) == 1 + 7


async def test_a_player_plays_in_its_loop_and_in_its_threads(
    stub: StubShard, tmp_path: Path
) -> None:
    async with serve_stub(stub) as address:
        printed = await run_example("player_loop.py", address, str(tmp_path))

    assert printed.count("the loop plays") == 1
    assert printed.count("a thread plays") == 2
    assert "3 content items liked, in 3 profiles" in printed


async def test_two_profiles_watch_and_one_is_removed(stub: StubShard, tmp_path: Path) -> None:
    async with serve_stub(stub) as address:
        printed = await run_example("two_profiles.py", address, str(tmp_path))

    assert printed.count("Because you watched Film") >= 2
    assert "shared by 2 profiles: 4 patterns" in printed
    assert "shared by 1 profile: 2 patterns" in printed
    assert len(stub.model.liked_ids) == 2
    assert len(stub.model.stored_patterns) == 2
