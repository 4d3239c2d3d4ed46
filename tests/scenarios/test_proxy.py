"""A machine with a proxy in its environment: what stays on the machine does not go through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from testing.ports import find_free_address
from tests.federation.fleet import get_address, run_federation, run_shards
from tests.scenarios.processes import run_command, run_shard_process

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy where nobody listens."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


async def test_rest_of_a_shard_answers(tmp_path: Path) -> None:
    rest_address = find_free_address()
    async with (
        run_shard_process(tmp_path, rest_addr=rest_address),
        httpx.AsyncClient(trust_env=False) as client,
    ):
        answer = await client.get(f"http://{rest_address}/health/live")

    assert answer.status_code == 200


async def test_the_command_line_reaches_a_shard_of_this_machine(tmp_path: Path) -> None:
    async with run_shard_process(tmp_path) as shard:
        finished = await run_command("status", grpc_addr=shard.address)

    assert (finished.status, finished.err) == (0, "")


async def test_a_federation_reaches_shards_of_this_machine() -> None:
    async with (
        run_shards(2) as shards,
        run_federation([get_address(each) for each in shards]) as federation,
    ):
        report = await federation.rounds.run()

    assert report.coverage is not None
    assert report.coverage.shards_fresh == 2
