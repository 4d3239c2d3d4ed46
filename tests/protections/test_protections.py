"""`make prove` would do what it says: every protection is there, and no finding is left out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.protections.protections import PROTECTIONS, Protection

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")


@pytest.mark.parametrize("protection", PROTECTIONS, ids=lambda each: f"{each.finding} {each.name}")
def test_a_protection_can_be_taken_out(protection: Protection) -> None:
    source = (ROOT / protection.file).read_text("utf-8")

    assert source.count(protection.text) == 1
    test, _, name = protection.test.partition("::")
    assert not name or f"def {name}(" in (ROOT / test).read_text("utf-8")
    if protection.file.endswith(".py"):
        ast.parse(source.replace(protection.text, protection.without))


def test_every_test_that_the_page_names_for_a_finding_is_proved() -> None:
    rows = re.findall(r"^\| (S\d+) \|(.*)$", PAGE, re.MULTILINE)
    named = {(finding, test) for finding, row in rows for test in re.findall(r"`(tests/.+?)`", row)}

    assert named - {(each.finding, each.test) for each in PROTECTIONS} == set()
