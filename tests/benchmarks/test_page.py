from __future__ import annotations

from benchmarks.capacity import Capacity, Fleet, format_capacity, load_costs
from benchmarks.figures import load_figures
from benchmarks.page import (
    CAPACITY_PAGE,
    COMMAND,
    PAGE,
    fence,
    format_all,
    format_carried,
    format_number,
    format_reach,
)
from benchmarks.reach import REACH
from testing.page_blocks import replace_block
from tests.benchmarks.samples import make_row


def test_the_page_shows_the_committed_figures() -> None:
    page, rows = PAGE.read_text(), load_figures()

    shown = replace_block(page, "carried", COMMAND, format_carried(rows))
    shown = replace_block(shown, "reach", COMMAND, format_reach(rows))
    shown = replace_block(shown, "figures", COMMAND, format_all(rows))

    assert shown == page, f"run `{COMMAND}`: docs/performance.md and benchmarks/figures.json differ"


def test_the_page_of_capacity_quotes_its_program() -> None:
    page = CAPACITY_PAGE.read_text()
    text = format_capacity(Capacity(Fleet(), load_costs(load_figures())))

    assert replace_block(page, "capacity", COMMAND, fence(text)) == page, f"run `{COMMAND}`"


def test_the_page_of_capacity_names_the_defaults_of_its_program() -> None:
    fleet = Fleet()
    options = (
        f"--devices {fleet.devices} --syncs-per-day {fleet.syncs_per_day:g} "
        f"--region-factor {fleet.region_factor:g} --replicas {fleet.replicas}"
    )

    assert options in CAPACITY_PAGE.read_text()


def test_a_figure_stands_beside_what_it_should_reach() -> None:
    rows = [make_row("recommend_p99_17k", 4.0), make_row("ingest_vs_echo"), make_row("x")]

    lines = format_reach(rows).splitlines()[2:]

    hit = "| `recommend_p99_17k` | 4 ms | bare: 10 ms | 0.40 (0.40 to 0.60) | ≤ 5 ms | yes |"
    missed = "| `ingest_vs_echo` | 5 ms | bare: 10 ms | 0.50 (0.40 to 0.60) | ≥ 0.7 | **no** |"
    assert {hit, missed} <= set(lines)
    assert len(lines) == len(REACH)


def test_what_nobody_measured_is_said() -> None:
    assert "| `fanout_vs_bare` | not measured | | | ≤ 2 | |" in format_reach([]).splitlines()


def test_what_a_shard_carries_has_the_command_that_measures_it() -> None:
    table = format_carried([make_row("recommend_p99_17k", 4.0, case="recommending"), make_row("x")])

    assert table.splitlines()[2:] == [
        (
            "| a recommendation on the device, 99th percentile | 4 ms "
            "| `make bench CASE=recommending` |"
        )
    ]


def test_a_case_is_named_once_before_its_figures() -> None:
    rows = [make_row("a", case="search"), make_row("b", case="search"), make_row("c")]

    table = format_all(rows)

    assert table.count("`search`") == 1
    assert "| server 120 |" in table
    assert "- 2026-11-28: a machine, commit abc" in table


def test_large_numbers_have_no_digits_behind_the_point() -> None:
    assert [format_number(each) for each in (12345.6, 99.96, 0.01234)] == [
        "12,346",
        "100",
        "0.0123",
    ]
