from __future__ import annotations

import io

import pytest
from rich.console import Console

from constellation.cli.printing import many, rate, size, span, sparkline
from constellation.cli.tables import Column, Table, number, prose, words


def printed(table: Table, width: int, *, colours: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=colours)
    table.print(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_numbers_are_at_the_right_and_words_at_the_left() -> None:
    table = Table([number("views"), words("title")])
    table.add("7", "Ran")
    table.add("1,200", "Solaris")

    assert printed(table, 80) == ["views  title", "    7  Ran", "1,200  Solaris"]


def test_words_are_cut_before_numbers() -> None:
    table = Table([number("views"), words("title")])
    table.add("1,200", "a long title that is cut")

    assert printed(table, 27) == ["views  title", "1,200  a long title that i…"]


def test_what_is_spare_goes_before_words_become_unreadable() -> None:
    table = Table([words("title"), Column("updated", is_spare=True)])
    table.add("a title of many letters", "10 min ago")

    assert printed(table, 40)[0] == "title                    updated"
    assert printed(table, 31)[0] == "title"


def test_the_last_spare_column_goes_first() -> None:
    table = Table([Column("one", is_spare=True), Column("kept"), Column("two", is_spare=True)])
    table.add("1" * 10, "2" * 10, "3" * 10)

    assert printed(table, 25)[0] == "one         kept"


def test_sentences_go_on_in_the_next_line_with_their_colours() -> None:
    table = Table([Column("part"), prose("told")])
    table.add("store", "[green]healthy[/]: " + "word " * 8 + "[red]end[/]")

    plain, coloured = printed(table, 40), printed(table, 40, colours=True)

    assert plain == [
        "part   told",
        "store  healthy: word word word word word",
        "       word word word end",
    ]
    assert "\x1b[32mhealthy\x1b[0m" in coloured[1]
    assert "\x1b[31mend\x1b[0m" in coloured[2]


def test_a_column_without_name_and_cells_takes_no_room() -> None:
    table = Table([Column("device"), words(""), Column("shard")])
    table.add("a", "", "s0")

    assert printed(table, 80) == ["device  shard", "a       s0"]


def test_a_table_without_rows_prints_nothing() -> None:
    assert printed(Table([Column("device")]), 80) == []


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (many(1, "device"), "1 device"),
        (many(0, "device"), "0 devices"),
        (many(4096, "delta"), "4,096 deltas"),
        (rate(1234.5), "1,234"),
        (rate(0.5), "0.5"),
        (size(999), "999 B"),
        (size(151_000_000), "151 MB"),
        (span(59), "59 s"),
        (span(3600), "1 hour"),
        (span(2 * 86_400 + 5), "2 days"),
        (sparkline([0, 1, 4, 8]), " ▁▄█"),
        (sparkline([0, 0]), "  "),
    ],
)
def test_figures_are_told_as_people_say_them(told: str, wanted: str) -> None:
    assert told == wanted
