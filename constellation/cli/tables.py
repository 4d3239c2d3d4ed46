"""Print tables for people, one line per row, no wider than the terminal."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.text import Text

from constellation.cli.printing import show_controls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType

_GAP: Final = 2
_MIN_WIDTH: Final = 12
"""No column is cut below this width; a narrower column is not cut at all."""
_READABLE_WIDTH: Final = 20
"""Drop optional columns before cutting any cell below this width."""
_READABLE_PROSE_WIDTH: Final = 32
"""Drop optional columns before wrapping any cell to less than this width."""


@dataclass(frozen=True, slots=True)
class PrintedColumn:
    """A column of a table, and how it changes when the terminal is narrow."""

    name: str
    """The heading; a column without heading and cells takes no room."""
    is_number: bool = False
    """Align the cells to the right."""
    can_shrink: bool = False
    """Cut the cells, with "…" at the end, when the table is too wide."""
    is_optional: bool = False
    """Drop the column when the others would become hard to read; the last column goes first."""
    can_wrap: bool = False
    """Continue a cell on the next line instead of cutting it."""


def number_column(name: str, *, is_optional: bool = False) -> PrintedColumn:
    return PrintedColumn(name, is_number=True, is_optional=is_optional)


def prose_column(name: str) -> PrintedColumn:
    """Return a column of sentences, which wrap where they do not fit."""
    return PrintedColumn(name, can_shrink=True, can_wrap=True)


def text_column(name: str, *, is_optional: bool = False) -> PrintedColumn:
    """Return a column of texts, which are cut where they do not fit."""
    return PrintedColumn(name, can_shrink=True, is_optional=is_optional)


@dataclass(frozen=True, slots=True)
class PrintedTable:
    """A table whose cells are texts in rich's markup."""

    columns: Sequence[PrintedColumn]
    rows: list[Sequence[str]] = field(default_factory=list)

    def add_row(self, *cells: str) -> None:
        """Add a row; missing cells at its end stay empty."""
        self.rows.append(cells)

    def fit_to_width(self, width: int) -> RenderableType:
        """Return the table laid out for a terminal of `width` columns."""
        grid = [[Text.from_markup(show_controls(cell)) for cell in row] for row in self.rows]
        visible = self._choose_columns(grid, width)
        widths = self._shrink_widths(
            {position: self._measure_column(grid, position) for position in visible}, width
        )
        head = [Text(column.name, "bold") for column in self.columns]
        heads = [head] if any(column.name for column in self.columns) else []
        rows = [line for row in grid for line in self._wrap_row(row, widths)]
        return Group(*(self._format_line(row, widths) for row in [*heads, *rows]))

    def print(self, console: Console) -> None:
        """Print the table; print nothing, not even headings, when it has no rows."""
        if self.rows:
            console.print(self.fit_to_width(console.width))

    def _choose_columns(self, grid: Sequence[Sequence[Text]], width: int) -> Sequence[int]:
        """Return the positions of the columns to print."""
        visible = [
            position
            for position, column in enumerate(self.columns)
            if column.name or self._measure_column(grid, position)
        ]
        for position in reversed(visible.copy()):
            narrowest = sum(self._measure_minimum(grid, each) + _GAP for each in visible) - _GAP
            if self.columns[position].is_optional and narrowest > width:
                visible.remove(position)
        return visible

    def _measure_column(self, grid: Sequence[Sequence[Text]], position: int) -> int:
        cells = [row[position].cell_len for row in grid if position < len(row)]
        return max(len(self.columns[position].name), *cells, 0)

    def _measure_minimum(self, grid: Sequence[Sequence[Text]], position: int) -> int:
        column, needed = self.columns[position], self._measure_column(grid, position)
        readable = _READABLE_PROSE_WIDTH if column.can_wrap else _READABLE_WIDTH
        return min(needed, readable) if column.can_shrink else needed

    def _shrink_widths(self, widths: dict[int, int], width: int) -> dict[int, int]:
        """Return column widths that fit into `width`, by narrowing the widest columns first."""
        shrinkable = [position for position in widths if self.columns[position].can_shrink]
        excess = sum(widths.values()) + _GAP * (len(widths) - 1) - width
        for _ in range(max(excess, 0)):
            widest = max(shrinkable, key=widths.__getitem__, default=None)
            if widest is None or widths[widest] <= _MIN_WIDTH:
                break
            widths[widest] -= 1
        return widths

    def _wrap_row(self, row: Sequence[Text], widths: dict[int, int]) -> list[Sequence[Text]]:
        """Return the lines of a row, more than one when a cell wraps."""
        lines: list[Sequence[Text]] = [row]
        for position, column_width in widths.items():
            if (
                position < len(row)
                and self.columns[position].can_wrap
                and row[position].cell_len > column_width
            ):
                first, *more = _wrap_cell(row[position], column_width)
                before = [Text()] * position
                lines = [[*row[:position], first], *([*before, each] for each in more)]
        return lines

    def _format_line(self, row: Sequence[Text], widths: dict[int, int]) -> Text:
        line = Text(no_wrap=True, overflow="ellipsis")
        for position, column_width in widths.items():
            cell = row[position].copy() if position < len(row) else Text()
            cell.truncate(column_width, overflow="ellipsis")
            padding = " " * (column_width - cell.cell_len)
            parts = (padding, cell) if self.columns[position].is_number else (cell, padding)
            line.append_text(Text.assemble(*parts, " " * _GAP))
        line.rstrip()
        return line


def _wrap_cell(cell: Text, width: int) -> list[Text]:
    """Break a cell into lines between words, keeping its colours; long words are not broken."""
    plain = cell.plain
    pieces, start = [], 0
    for line in textwrap.wrap(plain, width, break_long_words=False, break_on_hyphens=False):
        start = plain.index(line, start)
        pieces.append(cell[start : start + len(line)])
        start += len(line)
    return pieces
