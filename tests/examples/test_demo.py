from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
HOUSEHOLDS = 48
FIRST, SECOND = b"\1" * 16, b"\2" * 16


def make_demo_command(into: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "examples.demo"),
        *("--households", str(HOUSEHOLDS), "--into", str(into)),
    ]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("flags", [("--store", "sqlite"), ("--store", "postgres", "--secure")])
def test_the_demo_loses_nothing_and_counts_nothing_twice(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    run = subprocess.run(
        [*make_demo_command(tmp_path), *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        umask=0o022,  # that of most shells, and not the one of this process
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    report: dict[str, Any] = json.loads((tmp_path / "demo-report.json").read_text())
    assert report["devices"] == sum(report["devices_by_shard"]) == HOUSEHOLDS
    assert report["deltas_acked"] > HOUSEHOLDS
    assert report["deltas_lost"] == report["deltas_applied_twice"] == 0
    assert report["kills"] == 1
    assert report["recovery_seconds"] > 0
    assert [each["published"] for each in report["rounds"]] == [True, False, True, True]
    assert report["clusters"]
    assert report["trends"]
    assert report["devices_with_last_clusters"] == HOUSEHOLDS
    assert len(report["new_device"]) == 10
    assert len(report["quality"]) == 5
    assert all(0 <= line["ndcg"] <= line["hit_rate"] <= 1 for line in report["quality"])
    assert all(check["passed"] for check in report["checks"])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_ends_its_servers(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        make_demo_command(tmp_path), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        servers = parse_server_pids(demo.stdout, count=3)

        demo.send_signal(number)
        output = demo.stdout.read()

        assert demo.wait(30) == 130, output
    assert len(set(servers)) == 3
    assert all(has_ended(server, within_seconds=5) for server in servers)


def parse_server_pids(lines: Iterator[str], *, count: int) -> list[int]:
    """Return the process ids that the demo prints for its two shards and its federation."""
    announcements = (line for line in lines if ", pid " in line)
    pids = (int(line.partition(", pid ")[2].partition(",")[0]) for line in announcements)
    return list(islice(pids, count))


def has_ended(pid: int, *, within_seconds: float) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    gone, _, _ = select.select([descriptor], [], [], within_seconds)
    os.close(descriptor)
    return bool(gone)
