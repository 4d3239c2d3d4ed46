"""The pages of the documentation, and what they name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
PAGES: Final = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
_CODE: Final = re.compile(r"`([^`\n]+)`")
_FENCED: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def read_prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return _FENCED.sub("", page.read_text())


def find_code(text: str) -> set[str]:
    """Return what a text writes as code, within its lines."""
    return set(_CODE.findall(text))


def find_headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", read_prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
