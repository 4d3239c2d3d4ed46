"""What the documentation names is there: modules, log events, metrics, headings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pytest

from tests.docs.pages import DOCS, PAGES, ROOT, find_code, find_headings, read_prose

if TYPE_CHECKING:
    from pathlib import Path

CODE_DIRECTORIES: Final = (
    "attacks",
    "benchmarks",
    "clients",
    "constellation",
    "deploy",
    "examples",
    "federation",
    "quality",
    "testing",
    "tests",
    "tools",
)
CURRENT_PAGES: Final = [page for page in PAGES if page.parent.name != "decisions"]
"""Without the decision records, which name what there was when they were written."""
EXAMPLES: Final = {"television.py"}
"""Files that a reader makes."""
MODULE: Final = re.compile(r"[\w./-]+\.(?:py|proto|sql)")
EVENT: Final = re.compile(r'log\.\w+\(\s*\(?\s*"([a-z_]+)"(?: if [\w.]+ else "([a-z_]+)")?')
LINK: Final = re.compile(r"\]\((?!https?:)([^)#]*)#([^)]+)\)")
EVENTS_SECTION: Final = re.compile(r"^## Logs$(.*?)^## ", re.MULTILINE | re.DOTALL)


def list_code_files() -> list[str]:
    """Return the files that a page may name, relative to the project's root."""
    paths = [ROOT / "proto", *(ROOT / each for each in CODE_DIRECTORIES)]
    return [
        f"/{file.relative_to(ROOT)}"
        for directory in paths
        for file in directory.rglob("*")
        if file.suffix in {".py", ".proto", ".sql"}
    ]


def list_events() -> set[str]:
    """Return the events that the two programs log."""
    sources = "\n".join(
        file.read_text()
        for program in ("constellation", "federation")
        for file in (ROOT / program).rglob("*.py")
    )
    return {event for found in EVENT.findall(sources) for event in found if event}


@pytest.mark.parametrize("page", CURRENT_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    files = list_code_files()

    named = {code for code in find_code(read_prose(page)) if MODULE.fullmatch(code)} - EXAMPLES

    missing = {name for name in named if not any(file.endswith(f"/{name}") for file in files)}
    assert missing == set()


def test_every_log_event_that_operations_names_is_logged() -> None:
    (section,) = EVENTS_SECTION.findall((DOCS / "operations.md").read_text())
    settings_and_fields = {"logger", "trace_id"}

    named = {code for code in find_code(section) if re.fullmatch(r"[a-z_]+", code)}

    assert len(named - settings_and_fields) >= 4
    assert named - settings_and_fields <= list_events()


def test_every_metric_that_a_page_names_is_in_the_table_of_operations() -> None:
    table = re.findall(
        r"^\| `(constellation_\w+)` \|", (DOCS / "operations.md").read_text(), re.MULTILINE
    )

    named = {
        code
        for page in PAGES
        for code in find_code(read_prose(page))
        if re.fullmatch(r"constellation_\w+_(?:total|seconds|bytes|ratio|active|commits)", code)
    }

    assert named - set(table) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_heading_that_a_page_links_to_exists(page: Path) -> None:
    links = LINK.findall(read_prose(page))

    missing = [
        f"{target}#{anchor}"
        for target, anchor in links
        if anchor not in find_headings(page.parent / target if target else page)
    ]

    assert missing == []


def test_the_index_leads_to_every_page() -> None:
    index = (DOCS / "index.md").read_text()

    pages = {page.name for page in DOCS.glob("*.md")} - {"index.md"}

    assert {name for name in pages if f"({name}" not in index} == set()
