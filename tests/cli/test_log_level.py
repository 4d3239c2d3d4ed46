from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet


def test_log_levels_are_changed_and_changed_back(cli: CommandLine, fleet: RunningFleet) -> None:
    changed = cli("log-level", "debug", "--all")
    document = cli.run_json("log-level", "--all")
    cli("log-level", "info", "--all")

    assert changed.out.splitlines() == [
        f"{address}: log level debug (was info)" for address in fleet.shard_addresses
    ]
    assert document == {
        "processes": [
            {"address": address, "level": "LOG_LEVEL_DEBUG"} for address in fleet.shard_addresses
        ]
    }
    assert cli("log-level").out == f"{fleet.shard_addresses[0]}: log level info\n"


def test_a_federation_has_a_log_level(cli: CommandLine, fleet: RunningFleet) -> None:
    finished = cli("log-level", "--address", fleet.federation_address, program="federation")

    assert finished.out == f"{fleet.federation_address}: log level info\n"
