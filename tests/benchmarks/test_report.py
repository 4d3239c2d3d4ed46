from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.report import Measurement, compare, format_table, read_report, write_report

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("unit", "better"), [("syncs/s", "higher"), ("queries/CPU s", "higher"), ("ms", "lower")]
)
def test_a_rate_should_be_high_and_everything_else_low(unit: str, better: str) -> None:
    line = compare("speed", 5.0, unit, "a bare server", 10.0)

    assert (line.ratio, line.better) == (0.5, better)


def test_what_is_better_can_be_said() -> None:
    assert compare("recall", 0.9, "", "exact", 1.0, better="higher").better == "higher"


def test_a_row_says_on_what_and_by_which_case_it_was_measured(tmp_path: Path) -> None:
    report = tmp_path / "report.json"

    write_report([Measurement("x", 1.0, "s", "y", 2.0, 0.5)], report, case="streams")

    (row,) = read_report(report)
    assert (row["case"], row["name"], row["ratio"]) == ("streams", "x", 0.5)
    assert "cores" in row["machine"]
    assert {"python", "grpcio", "commit"} <= set(row["versions"])


def test_a_case_replaces_its_own_rows_and_no_others(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    old, renamed, other = (Measurement(name, 1.0, "s", "y", 2.0, 0.5) for name in "abc")
    write_report([old, renamed], report, case="streams")
    write_report([other], report, case="search")

    write_report([Measurement("a", 7.0, "s", "y", 2.0, 3.5)], report, case="streams")

    assert {row["name"]: row["value"] for row in read_report(report)} == {"a": 7.0, "c": 1.0}


def test_rows_without_a_case_are_merged_by_name(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    write_report([compare("a", 1.0, "s", "y", 1.0), compare("b", 1.0, "s", "y", 1.0)], report)

    write_report([compare("a", 2.0, "s", "y", 1.0)], report)

    assert {row["name"]: row["value"] for row in read_report(report)} == {"a": 2.0, "b": 1.0}


def test_the_table_shows_spread_and_processor_time() -> None:
    line = Measurement("x", 1.0, "s", "y", 2.0, 0.5, spread=(0.4, 0.6), cpu_us={"server": 12.0})

    assert "0.40   0.60" in format_table([line])
    assert "CPU us: server 12" in format_table([line])
