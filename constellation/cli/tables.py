"""Tables for people: one line a row, as wide as the terminal and no wider."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType

_GAP: Final = 2
_LEAST: Final = 12
"""A column that gives way keeps so much, or what it needs if that is less."""
_READABLE: Final = 20
"""Where cells would be cut to less, columns that are spare are left out before."""
_PROSE: Final = 32
"""The same of cells that wrap."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, and what becomes of it when the terminal is narrow."""

    name: str
    is_number: bool = False
    gives_way: bool = False
    """Its cells are cut."""
    is_spare: bool = False
    """It is left out where the others would be hard to read otherwise; the last one first."""
    wraps: bool = False
    """What is cut goes on in the next line."""


def number(name: str, *, is_spare: bool = False) -> Column:
    return Column(name, is_number=True, is_spare=is_spare)


def prose(name: str) -> Column:
    """Return a column of sentences: what does not fit goes on in the next line."""
    return Column(name, gives_way=True, wraps=True)


def words(name: str, *, is_spare: bool = False) -> Column:
    """Return a column of texts of any length."""
    return Column(name, gives_way=True, is_spare=is_spare)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, in rich's markup."""

    columns: Sequence[Column]
    rows: list[Sequence[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Add a row; cells that are missing at its end are empty."""
        self.rows.append(cells)

    def fitted(self, width: int) -> RenderableType:
        """Return the table for a terminal of that width."""
        grid = [[Text.from_markup(cell) for cell in row] for row in self.rows]
        kept = self._kept(grid, width)
        widths = self._cut({place: self._needs(grid, place) for place in kept}, width)
        head = [Text(column.name, "bold") for column in self.columns]
        heads = [head] if any(column.name for column in self.columns) else []
        rows = [line for row in grid for line in self._wrapped(row, widths)]
        return Group(*(self._line(row, widths) for row in [*heads, *rows]))

    def print(self, console: Console) -> None:
        """Print the table; nothing at all when it has no rows."""
        if self.rows:
            console.print(self.fitted(console.width))

    def _kept(self, grid: Sequence[Sequence[Text]], width: int) -> Sequence[int]:
        """Return the places of the columns there is room for."""
        kept = [
            place
            for place, column in enumerate(self.columns)
            if column.name or self._needs(grid, place)
        ]
        for place in reversed(range(len(self.columns))):
            least = sum(self._least(grid, each) + _GAP for each in kept) - _GAP
            if self.columns[place].is_spare and place in kept and least > width:
                kept.remove(place)
        return kept

    def _needs(self, grid: Sequence[Sequence[Text]], place: int) -> int:
        cells = [row[place].cell_len for row in grid if place < len(row)]
        return max(len(self.columns[place].name), *cells, 0)

    def _least(self, grid: Sequence[Sequence[Text]], place: int) -> int:
        column, needed = self.columns[place], self._needs(grid, place)
        readable = _PROSE if column.wraps else _READABLE
        return min(needed, readable) if column.gives_way else needed

    def _cut(self, widths: dict[int, int], width: int) -> dict[int, int]:
        """Take what is too much from the widest columns that give way."""
        giving = [place for place in widths if self.columns[place].gives_way]
        excess = sum(widths.values()) + _GAP * (len(widths) - 1) - width
        for _ in range(max(excess, 0)):
            widest = max(giving, key=widths.__getitem__, default=None)
            if widest is None or widths[widest] <= _LEAST:
                break
            widths[widest] -= 1
        return widths

    def _wrapped(self, row: Sequence[Text], widths: dict[int, int]) -> list[Sequence[Text]]:
        """Return the lines of a row: more than one when a cell wraps."""
        lines: list[Sequence[Text]] = [row]
        for place, wide in widths.items():
            if place < len(row) and self.columns[place].wraps and row[place].cell_len > wide:
                first, *more = _pieces(row[place], wide)
                before = [Text()] * place
                lines = [[*row[:place], first], *([*before, each] for each in more)]
        return lines

    def _line(self, row: Sequence[Text], widths: dict[int, int]) -> Text:
        line = Text(no_wrap=True, overflow="ellipsis")
        for place, wide in widths.items():
            cell = row[place].copy() if place < len(row) else Text()
            cell.truncate(wide, overflow="ellipsis")
            padding = " " * (wide - cell.cell_len)
            parts = (padding, cell) if self.columns[place].is_number else (cell, padding)
            line.append_text(Text.assemble(*parts, " " * _GAP))
        line.rstrip()
        return line


def _pieces(cell: Text, width: int) -> list[Text]:
    """Cut a cell into lines, between words; its colours stay. A longer word stays whole."""
    plain = cell.plain
    pieces, start = [], 0
    for line in textwrap.wrap(plain, width, break_long_words=False, break_on_hyphens=False):
        start = plain.index(line, start)
        pieces.append(cell[start : start + len(line)])
        start += len(line)
    return pieces
