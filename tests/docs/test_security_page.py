"""The page on security names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)


def test_every_test_that_the_page_names_exists() -> None:
    missing = [
        f"{file}::{name}"
        for file, name in NAMED
        if not (ROOT / file).is_file() or f"def {name}(" not in (ROOT / file).read_text("utf-8")
        if name or not (ROOT / file).is_file()
    ]

    assert missing == []


def test_every_finding_has_a_row() -> None:
    rows = re.findall(r"^\| (S\d+) \|", PAGE, re.MULTILINE)

    assert rows == [f"S{number}" for number in range(1, 23)]
