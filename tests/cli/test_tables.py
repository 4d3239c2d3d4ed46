from __future__ import annotations

import io

import pytest
from rich.console import Console

from constellation.cli.printing import (
    draw_sparkline,
    format_duration,
    format_rate,
    format_size,
    pluralise,
)
from constellation.cli.tables import (
    PrintedColumn,
    PrintedTable,
    number_column,
    prose_column,
    text_column,
)


def render_table(table: PrintedTable, width: int, *, colours: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=colours)
    table.print(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_numbers_are_at_the_right_and_words_at_the_left() -> None:
    table = PrintedTable([number_column("views"), text_column("title")])
    table.add_row("7", "Ran")
    table.add_row("1,200", "Solaris")

    assert render_table(table, 80) == ["views  title", "    7  Ran", "1,200  Solaris"]


def test_words_are_cut_before_numbers() -> None:
    table = PrintedTable([number_column("views"), text_column("title")])
    table.add_row("1,200", "a long title that is cut")

    assert render_table(table, 27) == ["views  title", "1,200  a long title that i…"]


def test_what_is_spare_goes_before_words_become_unreadable() -> None:
    table = PrintedTable([text_column("title"), PrintedColumn("updated", is_optional=True)])
    table.add_row("a title of many letters", "10 min ago")

    assert render_table(table, 40)[0] == "title                    updated"
    assert render_table(table, 31)[0] == "title"


def test_the_last_spare_column_goes_first() -> None:
    table = PrintedTable(
        [
            PrintedColumn("one", is_optional=True),
            PrintedColumn("kept"),
            PrintedColumn("two", is_optional=True),
        ]
    )
    table.add_row("1" * 10, "2" * 10, "3" * 10)

    assert render_table(table, 25)[0] == "one         kept"


def test_sentences_go_on_in_the_next_line_with_their_colours() -> None:
    table = PrintedTable([PrintedColumn("part"), prose_column("told")])
    table.add_row("store", "[green]healthy[/]: " + "word " * 8 + "[red]end[/]")

    plain, coloured = render_table(table, 40), render_table(table, 40, colours=True)

    assert plain == [
        "part   told",
        "store  healthy: word word word word word",
        "       word word word end",
    ]
    assert "\x1b[32mhealthy\x1b[0m" in coloured[1]
    assert "\x1b[31mend\x1b[0m" in coloured[2]


def test_a_column_without_name_and_cells_takes_no_room() -> None:
    table = PrintedTable([PrintedColumn("device"), text_column(""), PrintedColumn("shard")])
    table.add_row("a", "", "s0")

    assert render_table(table, 80) == ["device  shard", "a       s0"]


def test_a_table_without_rows_prints_nothing() -> None:
    assert render_table(PrintedTable([PrintedColumn("device")]), 80) == []


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (pluralise(1, "device"), "1 device"),
        (pluralise(0, "device"), "0 devices"),
        (pluralise(4096, "delta"), "4,096 deltas"),
        (format_rate(1234.5), "1,234"),
        (format_rate(0.5), "0.5"),
        (format_size(999), "999 B"),
        (format_size(151_000_000), "151 MB"),
        (format_duration(59), "59 s"),
        (format_duration(3600), "1 hour"),
        (format_duration(2 * 86_400 + 5), "2 days"),
        (draw_sparkline([0, 1, 4, 8]), " ▁▄█"),
        (draw_sparkline([0, 0]), "  "),
    ],
)
def test_figures_are_told_as_people_say_them(told: str, wanted: str) -> None:
    assert told == wanted
