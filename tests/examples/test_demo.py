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

import numpy as np
import pytest

from constellation_settop import AckedDelta, PatternStats
from examples.demo.store_state import (
    DeltaCounts,
    StoredDevice,
    compute_signals,
    filter_recent,
    find_lost_deltas,
)
from testing.viewings import Viewings

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


def make_acked_delta(
    seq: int, upserts: dict[bytes, PatternStats], removed: tuple[bytes, ...] = ()
) -> AckedDelta:
    return AckedDelta(
        seq,
        digest=b"",
        is_snapshot=False,
        upserts=upserts,
        removed_ids=removed,
        rejected_ids=(),
        signal_count=0,
        acked_at=0.0,
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_the_demo_loses_nothing_and_counts_nothing_twice(tmp_path: Path, store: str) -> None:
    run = subprocess.run(
        [*make_demo_command(tmp_path), "--store", store],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
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
    assert len(report["new_device"]) == 20
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
        said = demo.stdout.read()

        assert demo.wait(30) == 130, said
    assert len(set(servers)) == 3
    assert all(has_ended(server, within_seconds=5) for server in servers)


def parse_server_pids(lines: Iterator[str], *, count: int) -> list[int]:
    """Return what the demo says of its processes: two shards, one federation."""
    said = (line for line in lines if ", pid " in line)
    pids = (int(line.partition(", pid ")[2].partition(",")[0]) for line in said)
    return list(islice(pids, count))


def has_ended(pid: int, *, within_seconds: float) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    gone, _, _ = select.select([descriptor], [], [], within_seconds)
    os.close(descriptor)
    return bool(gone)


def test_a_pattern_the_shard_lacks_is_a_lost_delta() -> None:
    value = PatternStats(1.0, 3)
    journal = [make_acked_delta(1, {FIRST: value}), make_acked_delta(2, {SECOND: value})]

    lost = find_lost_deltas(journal, StoredDevice(2, {FIRST: value}))

    assert lost == {2}


def test_a_cursor_behind_the_last_ack_is_a_lost_delta() -> None:
    journal = [make_acked_delta(1, {}), make_acked_delta(2, {})]

    assert find_lost_deltas(journal, StoredDevice(1, {})) == {2}


def test_an_older_value_is_a_lost_delta() -> None:
    old, new = PatternStats(1.0, 3), PatternStats(1.0, 4)
    journal = [make_acked_delta(1, {FIRST: old}), make_acked_delta(2, {FIRST: new})]

    assert find_lost_deltas(journal, StoredDevice(2, {FIRST: old})) == {2}


def test_a_removed_pattern_that_is_still_stored_is_a_lost_delta() -> None:
    value = PatternStats(1.0, 3)
    journal = [make_acked_delta(1, {FIRST: value}), make_acked_delta(2, {}, removed=(FIRST,))]

    assert find_lost_deltas(journal, StoredDevice(2, {FIRST: value})) == {2}


def test_a_shard_that_applied_more_than_its_cursors_moved_applied_twice() -> None:
    assert DeltaCounts(applied=12, distinct=10).duplicates == 2


def test_a_household_signals_four_films_an_hour_at_most() -> None:
    names = np.array([f"film:{number}" for number in range(6)])
    six = np.arange(6)
    ones = np.ones(6, np.float32)
    hour = 100
    viewings = Viewings(
        households=np.zeros(6, np.int64),
        content_ids=names,
        content_rows=six.copy(),
        ratings=ones.copy(),
        timestamps=six.copy(),
        watch_percentages=ones.copy(),
        engagements=ones.copy(),
    )

    signals = compute_signals(viewings, hour * 3600 + six)

    assert signals == {(hour, f"film:{number}"): 1 for number in range(4)}
    assert not filter_recent(signals, hour + 1)
