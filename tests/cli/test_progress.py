from __future__ import annotations

from typing import TYPE_CHECKING

from tests.terminal import run_on_terminal

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet


def test_progress_is_shown_on_terminals_only(cli: CommandLine, fleet: RunningFleet) -> None:
    with run_on_terminal(
        "constellation", "content", "add", "-", GRPC_ADDR=fleet.shard_addresses[0]
    ) as terminal:
        terminal.read_until("Adding")
        terminal.press_keys("\x04")  # the end of standard input
        status = terminal.read_to_exit()

    assert status == 0
    assert "0 content items added, 0 replaced" in terminal.text
    assert cli("content", "add", "/dev/null").err == ""
