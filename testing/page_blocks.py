"""Parts of pages that commands write, between two markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def replace_block(page: str, name: str, command: str, text: str) -> str:
    """Return a page with another text between the markers of a block, which name its command.

    Raises ValueError unless the page has the two markers, once each.
    """
    begin, end = f"<!-- {name}: written by `{command}` -->", f"<!-- end of {name} -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"the page needs one {begin} and one {end}")
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def write_block(page: Path, name: str, command: str, text: str) -> None:
    """Replace a block of the page in this file."""
    page.write_text(replace_block(page.read_text(), name, command, text))
