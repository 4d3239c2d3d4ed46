from __future__ import annotations

import io

from rich.console import Console

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


def test_numbers_are_aligned_right_and_texts_left() -> None:
    table = PrintedTable([number_column("views"), text_column("title")])
    table.add_row("7", "Ran")
    table.add_row("1,200", "Solaris")

    assert render_table(table, 80) == ["views  title", "    7  Ran", "1,200  Solaris"]


def test_texts_are_cut_before_numbers() -> None:
    table = PrintedTable([number_column("views"), text_column("title")])
    table.add_row("1,200", "a long title that is cut")

    assert render_table(table, 27) == ["views  title", "1,200  a long title that i…"]


def test_optional_columns_are_dropped_before_texts_become_unreadable() -> None:
    table = PrintedTable([text_column("title"), PrintedColumn("updated", is_optional=True)])
    table.add_row("a title of many letters", "10 min ago")

    assert render_table(table, 40)[0] == "title                    updated"
    assert render_table(table, 31)[0] == "title"


def test_the_last_optional_column_is_dropped_first() -> None:
    table = PrintedTable(
        [
            PrintedColumn("one", is_optional=True),
            PrintedColumn("kept"),
            PrintedColumn("two", is_optional=True),
        ]
    )
    table.add_row("1" * 10, "2" * 10, "3" * 10)

    assert render_table(table, 25)[0] == "one         kept"


def test_sentences_wrap_and_keep_their_colours() -> None:
    table = PrintedTable([PrintedColumn("part"), prose_column("message")])
    table.add_row("store", "[green]healthy[/]: " + "word " * 8 + "[red]end[/]")

    plain, coloured = render_table(table, 40), render_table(table, 40, colours=True)

    assert plain == [
        "part   message",
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
