from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet

PROGRAM = "federation"


def test_rounds_are_listed_newest_first(cli: CommandLine, fleet: RunningFleet) -> None:
    document = cli.run_json("rounds", "--address", fleet.federation_address, program=PROGRAM)
    finished = cli("rounds", "--address", fleet.federation_address, program=PROGRAM)

    head, row, summary = finished.out.splitlines()
    assert head.split()[:4] == ["round", "closed", "state", "shards"]
    assert row.split()[0] == "1"
    assert "published" in row
    assert "2 of 2" in row
    assert summary == "1 round"
    assert [each["round_id"] for each in document["rounds"]] == ["1"]
    assert document["more"] is False
