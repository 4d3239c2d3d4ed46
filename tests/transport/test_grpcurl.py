"""The API as grpcurl shows it, and every call of docs/by-hand.md as that page shows it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from constellation.core.rows import TermKind
from tests.scenarios.processes import (
    COMMAND_DIR,
    DEADLINE_SECONDS,
    CommandResult,
    run_shard_process,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.server import RunningShard

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "by-hand.md").read_text()
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
ADDRESS = "localhost:50051"


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    """The port of a shard that serves as `make run` lets it."""
    async with run_shard_process(tmp_path) as shard:
        yield shard.port


def find_call(containing: str) -> str:
    """Return the only command block of the page that holds this text."""
    (found,) = [text for kind, text in BLOCK.findall(PAGE) if kind == "sh" and containing in text]
    return str(found)


def find_answer(command: str) -> str:
    """Return the block that follows a command."""
    blocks = [text for _, text in BLOCK.findall(PAGE)]
    return str(blocks[blocks.index(command) + 1])


async def run_in_shell(command: str, port: int) -> CommandResult:
    """Run a command block, as typed in the project's directory, against this shard."""
    assert ".venv/bin/grpcurl" in command
    line = command.replace(".venv/bin/grpcurl", f"'{COMMAND_DIR}/grpcurl'")
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        line.replace(ADDRESS, f"127.0.0.1:{port}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return CommandResult(process.returncode, out.decode(), err.decode())


async def call_method(port: int, method: str, request: str = "{}") -> dict[str, Any]:
    command = f".venv/bin/grpcurl -plaintext -d '{request}' {ADDRESS} {method}"
    finished = await run_in_shell(command, port)
    assert (finished.status, finished.err) == (0, "")
    answer: dict[str, Any] = json.loads(finished.out)
    return answer


def parse_frames(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects in a text."""
    found, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        frame, end = decoder.raw_decode(text)
        found.append(frame)
        text = text[end:]
    return found


async def test_the_page_lists_the_services(port: int) -> None:
    command = find_call(f"{ADDRESS} list")

    finished = await run_in_shell(command, port)

    assert finished.out == find_answer(command)


async def test_the_page_shows_what_get_info_answers(port: int) -> None:
    command = find_call("GetInfo")

    finished = await run_in_shell(command, port)

    answer, shown = json.loads(finished.out), json.loads(find_answer(command))
    assert answer.pop("started_at")[:2] == shown.pop("started_at")[:2]
    assert answer == shown


async def test_a_stream_can_be_typed_by_hand(port: int) -> None:
    finished = await run_in_shell(find_call("SyncService/Sync"), port)

    answers = parse_frames(finished.out)
    kinds = [kind for frame in answers for kind in frame]
    assert finished.status == 0
    assert kinds[0] == "welcome"
    assert kinds[-1] == "bye"
    assert set(kinds) - {"global_update"} == {"welcome", "delta_ack", "bye"}
    assert answers[0]["welcome"]["expected_seq"] == "1"


async def test_what_the_typed_stream_watched_is_counted(shard: RunningShard) -> None:
    added = await run_in_shell(find_call("AddContent"), shard.port)
    hour = int(time.time()) // 3600

    finished = await run_in_shell(find_call("SyncService/Sync"), shard.port)

    manager = shard.manager
    film = manager.table.vocabulary.number(TermKind.CONTENT, "a-film")
    counts = [manager.ring.count(TermKind.CONTENT, each, film) for each in (hour, hour + 1)]
    assert (added.status, added.err) == (0, "")
    assert "signals_dropped" not in finished.out
    assert sum(counts) == 1


async def test_a_whole_sync_can_be_typed_as_one_call(port: int) -> None:
    await run_in_shell(find_call("AddContent"), port)

    finished = await run_in_shell(find_call("SyncService/Exchange"), port)

    (answer,) = parse_frames(finished.out)
    assert finished.status == 0
    assert answer["welcome"]["expected_seq"] == "1"
    assert answer["ack"]["through_seq"] == "1"
    assert "signals_dropped" not in answer["ack"]
    assert "version" in answer["update"]


async def test_a_heartbeat_typed_by_hand_is_taken(shard: RunningShard) -> None:
    command = find_call("SyncService/Sync")
    delta = next(line for line in command.splitlines() if "delta" in line)

    finished = await run_in_shell(command.replace(delta, '{"heartbeat": {}}'), shard.port)

    assert finished.status == 0
    assert "bye" in parse_frames(finished.out)[-1]


async def test_every_service_describes_itself(shard: RunningShard) -> None:
    command = f".venv/bin/grpcurl -plaintext {ADDRESS} describe"

    finished = await run_in_shell(command, shard.port)

    assert finished.status == 0
    for service in ("SyncService", "ShardService", "HealthService"):
        assert f"service {service} {{" in finished.out


@pytest.mark.parametrize("service", ["", "constellation.v1.SyncService"])
async def test_health_is_asked_as_kubernetes_asks_it(shard: RunningShard, service: str) -> None:
    request = f'{{"service": "{service}"}}'

    answer = await call_method(shard.port, "grpc.health.v1.Health/Check", request)

    assert answer == {"status": "SERVING"}


async def test_stats_are_measured(shard: RunningShard) -> None:
    await run_in_shell(find_call("SyncService/Sync"), shard.port)

    answer = await call_method(shard.port, "constellation.v1.ShardService/GetStats")

    assert answer["total_devices"] == "1"
    assert answer["deltas_applied"] == "1"
    assert int(answer["resident_bytes"]) > 1 << 20


def test_every_link_of_the_documents_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *_list_pages()]

    links = [
        page.parent / link
        for page in pages
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    ]

    assert [str(link) for link in links if not link.exists()] == []


def _list_pages() -> list[Path]:
    return [ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
