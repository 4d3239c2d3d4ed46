from __future__ import annotations

from typing import TYPE_CHECKING

from testing.ports import find_free_address
from tests.servers import DEADLINE_SECONDS, RunningFleet, run_shard_server
from tests.terminal import run_on_terminal

if TYPE_CHECKING:
    from tests.command_line import CommandLine


def test_drain_ends_a_shards_process(unconfigured_cli: CommandLine) -> None:
    address = find_free_address()
    with run_shard_server(address) as process:
        document = unconfigured_cli.run_json(
            "drain", "--address", address, "--yes", "--spread", "0"
        )

        assert process.wait(DEADLINE_SECONDS) == 0
    assert document["address"] == address
    assert document["streams"] == 0


def test_drain_asks_first_and_does_nothing_where_there_is_no_terminal(cli: CommandLine) -> None:
    finished = cli("drain")

    assert finished.status == 2
    assert "there is no terminal for a confirmation: give --yes" in finished.err
    assert cli("status").status == 0


def test_drain_asks_on_a_terminal_and_obeys_a_no(cli: CommandLine, fleet: RunningFleet) -> None:
    with run_on_terminal("constellation", "drain", GRPC_ADDR=fleet.shard_addresses[0]) as terminal:
        terminal.read_until("Drain it? [y/N] ")
        terminal.press_keys("n\n")
        status = terminal.read_to_exit()

    assert status == 1
    assert f"Shard 0 of north at {fleet.shard_addresses[0]} has 0 streams." in terminal.text
    assert "constellation: cancelled, nothing was drained" in terminal.text
    assert cli("status").status == 0
