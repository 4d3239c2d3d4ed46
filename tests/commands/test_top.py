from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from constellation.commands.top import StatsSample, compute_rates
from constellation.v1.shard_pb2 import GetStatsResponse
from testing.ports import find_free_address
from tests.scenarios.processes import COMMAND_DIR
from tests.servers import make_clean_environment
from tests.terminal import WIDTH, run_on_terminal

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet

SHOW_CURSOR = "\x1b[?25h"


def test_frames_follow_each_other_until_q(fleet: RunningFleet) -> None:
    with run_on_terminal(
        "constellation", "top", "--interval", "0.1", "--address", fleet.shard_list
    ) as (terminal):
        terminal.read_until(" UTC", times=2)
        terminal.press_keys("q")
        status = terminal.read_to_exit()

    assert status == 0
    assert SHOW_CURSOR in terminal.raw_text
    first, second, *_ = terminal.text.split(" UTC")
    for frame in (first, second):
        assert all(address in frame for address in fleet.shard_addresses)
    assert max(len(line) for line in terminal.text.split("\n")) <= WIDTH


def test_ctrl_c_ends_it_as_shells_expect(fleet: RunningFleet) -> None:
    with run_on_terminal(
        "constellation", "top", "--interval", "0.1", "--address", fleet.shard_addresses[0]
    ) as (terminal):
        terminal.read_until(" UTC")
        terminal.press_keys("\x03")
        status = terminal.read_to_exit()

    assert status == 130
    assert SHOW_CURSOR in terminal.raw_text
    assert "Traceback" not in terminal.text


def test_a_shard_that_does_not_answer_is_shown_with_why() -> None:
    unused_address = find_free_address()

    with run_on_terminal(
        "constellation", "top", "--interval", "0.1", "--address", unused_address
    ) as terminal:
        terminal.read_until(" UTC")
        terminal.press_keys("q")
        status = terminal.read_to_exit()

    assert status == 1
    assert "unreachable" in terminal.text
    assert "connection refused" in terminal.text.replace("\n", " ")


def test_without_a_terminal_it_prints_once(cli: CommandLine, fleet: RunningFleet) -> None:
    finished = cli("top", "--interval", "0.05", "--all")

    assert finished.status == 0
    head, *rows, at = finished.out.splitlines()
    assert head.split()[:4] == ["address", "devices", "active", "streams"]
    assert [row.split()[0] for row in rows] == fleet.shard_addresses
    assert at.endswith(" UTC")


def test_json_is_a_line_for_each_interval(fleet: RunningFleet) -> None:
    flags = ["--address", fleet.shard_addresses[0], "--interval", "0.05", "--count", "3", "--json"]

    finished = subprocess.run(
        [COMMAND_DIR / "constellation", "top", *flags],
        env=make_clean_environment(),
        check=True,
        capture_output=True,
        text=True,
    )

    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    assert len(lines) == 3
    assert {line["interval_seconds"] for line in lines} == {0.05}
    assert all(line["shards"][0]["rates"]["deltas_per_second"] == 0 for line in lines)


def test_rates_are_of_the_time_between_two_samples() -> None:
    before = StatsSample("a", 10.0, GetStatsResponse(deltas_applied=5, commits=2))
    now = StatsSample(
        "a", 12.0, GetStatsResponse(deltas_applied=25, commits=6, patterns_rejected=1)
    )

    rates = compute_rates(before, now)

    assert rates is not None
    assert rates.deltas_per_second == 10
    assert rates.commits_per_second == 2
    assert rates.rejected_per_second == 0.5


@pytest.mark.parametrize("earlier", [None, GetStatsResponse(deltas_applied=30)])
def test_there_are_no_rates_after_a_restart_or_a_failed_call(
    earlier: GetStatsResponse | None,
) -> None:
    before = StatsSample("a", 10.0, earlier)
    now = StatsSample("a", 12.0, GetStatsResponse(deltas_applied=25))

    assert compute_rates(before, now) is None
