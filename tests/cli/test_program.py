from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.scenarios.processes import COMMAND_DIR
from tests.servers import make_clean_environment
from tests.terminal import WIDTH, run_on_terminal

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet


def test_tables_fit_a_terminal_and_are_whole_in_a_pipe(
    cli: CommandLine, fleet: RunningFleet
) -> None:
    search = ("search", "--text", "war")
    with run_on_terminal("constellation", *search, GRPC_ADDR=fleet.shard_addresses[0]) as terminal:
        assert terminal.read_to_exit() == 0
    piped = cli(*search)

    seen = terminal.text.splitlines()
    assert max(map(len, seen)) <= WIDTH
    assert "\x1b[" in terminal.raw_text
    assert "updated" not in seen[0]  # what there is no room for
    assert len(seen) == len(piped.out.splitlines())
    assert "\x1b[" not in piped.out
    assert "…" not in piped.out
    assert max(map(len, piped.out.splitlines())) > WIDTH


def test_the_status_of_a_shard_wraps_on_a_terminal(fleet: RunningFleet) -> None:
    with run_on_terminal("constellation", "status", GRPC_ADDR=fleet.shard_addresses[0]) as terminal:
        assert terminal.read_to_exit() == 0

    assert max(map(len, terminal.text.splitlines())) <= WIDTH
    assert "…" not in terminal.text


def test_a_reader_that_closes_the_pipe_gets_no_message(fleet: RunningFleet) -> None:
    with subprocess.Popen(
        [COMMAND_DIR / "constellation", "content", "list", "--json"],
        env={**make_clean_environment(), "GRPC_ADDR": fleet.shard_addresses[0]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()

        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_ctrl_c_in_long_work_is_no_success(fleet: RunningFleet) -> None:
    with run_on_terminal(
        "constellation", "content", "add", "-", GRPC_ADDR=fleet.shard_addresses[0]
    ) as terminal:
        terminal.read_until("Adding")
        terminal.press_keys("\x03")
        status = terminal.read_to_exit()

    assert status == 130
    assert "Traceback" not in terminal.text
