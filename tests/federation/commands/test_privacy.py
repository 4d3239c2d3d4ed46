from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet

PROGRAM = "federation"


def test_a_federation_without_noise_says_so(cli: CommandLine, fleet: RunningFleet) -> None:
    finished = cli("privacy", "--address", fleet.federation_address, program=PROGRAM)
    document = cli.run_json("privacy", "--address", fleet.federation_address, program=PROGRAM)

    assert finished.out == "This federation publishes without noise: PRIVACY_EPSILON is 0.\n"
    assert document["enabled"] is False


def test_the_number_of_weeks_has_a_limit(cli: CommandLine) -> None:
    finished = cli("privacy", "--weeks", "54", program=PROGRAM)

    assert finished.status == 2
    assert "must be from 1 to 53" in finished.err
