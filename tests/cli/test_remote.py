from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testing.ports import find_free_address

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet


@pytest.mark.parametrize("command", ["status", "devices", "patterns", "trends", "clusters"])
def test_a_refused_connection_is_explained_with_the_address(cli: CommandLine, command: str) -> None:
    unused_address = find_free_address()

    finished = cli(command, "--address", unused_address)

    assert finished.status == 1
    assert finished.out == ""
    assert f" at {unused_address}: connection refused: is the process running" in finished.err


def test_a_federation_and_a_shard_are_not_confused(cli: CommandLine, fleet: RunningFleet) -> None:
    shard_asked = cli("status", "--address", fleet.federation_address)
    federation_asked = cli("status", program="federation")

    assert shard_asked.status == federation_asked.status == 1
    assert shard_asked.err == (
        f"constellation: {fleet.federation_address} is a federation: give the address of a shard, "
        "or use `federation status`\n"
    )
    assert federation_asked.err == (
        f"federation: {fleet.shard_addresses[0]} is a shard: give the address of a federation, "
        "or use `constellation status`\n"
    )
