from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.command_line import CommandLine


def test_clusters_are_printed_with_titles(cli: CommandLine) -> None:
    finished = cli("clusters")

    head, *rows, summary = finished.out.splitlines()
    assert head.split() == ["devices", "success", "genres", "titles"]
    assert any("Solaris (1972)" in row for row in rows)
    assert summary.endswith(" of round 1")


def test_clusters_as_json_name_the_round(cli: CommandLine) -> None:
    document = cli.run_json("clusters", "--limit", "1")

    assert document["round_id"] == "1"
    assert len(document["clusters"]["success_rates"]) == 1
