"""Exports of a shard, whole and damaged."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from constellation.core.store import Content
from tests.conftest import run_shard
from tests.deltas import PatternSpec
from tests.scenarios.processes import CommandResult, run_command
from tests.transport.inbox_client import push_delta

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.server import RunningShard

FILM = Content("film:1", "Solaris — Солярис", 1, ("drama", "科幻"), 1972, bytes(range(1, 129)) * 3)


ID_ONLY = json.dumps(
    {
        "device_id": "01" * 16,
        "incarnation": 1,
        "seq": 1,
        "synced_at": 1,
        "signal_hour": 0,
        "signal_content_ids": [],
    }
)


A_COUNT = json.dumps({"count": {"hour": 500_000, "genre": "drama", "devices": 1}})


A_CONTENT = json.dumps(
    {"content": {"content_id": "a", "title": "", "content_type": 0, "genres": [], "year": 1}}
)


async def fill_shard(shard: RunningShard) -> None:
    """Store a bit of everything: contents, freed slots, words, signals, a fresh incarnation."""
    manager, hour = shard.manager, int(time.time()) // 3600
    await manager.committer.add_contents([FILM])
    for device in range(40):
        patterns = [
            PatternSpec(
                number,
                direction=device * 8 + number,
                success_rate=0.7 + 0.01 * number,
                genres=("drama", "noir")[: number % 3],
                contents=("film:1", f"film:{number}")[: number % 3],
            )
            for number in range(6)
        ]
        await push_delta(manager, device, 1, patterns)
        signals = [("film:1", hour), (f"film:{device % 3}", hour)]
        await push_delta(manager, device, 2, [PatternSpec(2, direction=device)], [1, 3], signals)


def make_store_settings(kind: str, tmp_path: Path, url: str) -> dict[str, Any]:
    return {"postgres_url": url} if kind == "postgres" else {"data_dir": tmp_path / kind}


async def export(to: Path, **settings: Any) -> CommandResult:
    finished = await run_command("export", str(to), **settings)
    assert finished.status == 0, finished.err
    return finished


async def export_lines(tmp_path: Path) -> list[str]:
    async with run_shard(data_dir=tmp_path / "sqlite") as shard:
        await push_delta(shard.manager, 0, 1, [PatternSpec(1, contents=("a",))])
        await push_delta(shard.manager, 1, 1, [PatternSpec(1)])
    await export(tmp_path / "good.jsonl", data_dir=tmp_path / "sqlite")
    return (tmp_path / "good.jsonl").read_text().splitlines()


def break_pattern(line: str, **changes: Any) -> str:
    """Return a device's line with another first pattern."""
    device = json.loads(line)
    device["device"]["patterns"][0] |= changes
    return json.dumps(device)
