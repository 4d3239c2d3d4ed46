from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from attacks.game import Score
from attacks.report import (
    BLOCK,
    COMMAND,
    FIGURES,
    PAGE,
    format_page,
    format_table,
    load_figures,
    save_figures,
    write_report,
)
from attacks.results import Goal, Line
from testing.page_blocks import replace_block

if TYPE_CHECKING:
    from pathlib import Path

GOAL = Goal("spying", "spy", "films seen", reach=0.02, least=0.5)
FULL, NONE = Score(1.0, 0.9, 1.0, 40), Score(0.0, 0.0, 0.1, 40)


@pytest.mark.parametrize(
    ("off", "on", "is_proven", "is_held"),
    [(FULL, NONE, True, True), (NONE, NONE, False, True), (FULL, FULL, True, False)],
)
def test_an_attack_must_work_without_the_protection_and_fail_with_it(
    off: Score,
    on: Score,
    is_proven: bool,  # noqa: FBT001  # parameters of the test
    is_held: bool,  # noqa: FBT001
) -> None:
    line = Line(GOAL, off, on)

    assert (line.is_proven, line.is_held) == (is_proven, is_held)
    assert ("NOT HELD" in format_table([line])) is not is_held
    assert ("NOT PROVEN" in format_table([line])) is not is_proven


def test_the_report_has_every_figure(tmp_path: Path) -> None:
    file = tmp_path / "build" / "report.json"

    write_report([Line(GOAL, FULL, NONE)], file)

    (line,) = json.loads(file.read_text())
    assert (line["goal"]["name"], line["off"]["value"], line["on"]["high"]) == ("spying", 1.0, 0.1)
    assert line["is_proven"]
    assert line["is_held"]


def test_figures_that_were_saved_are_loaded(tmp_path: Path) -> None:
    lines = [Line(GOAL, FULL, NONE)]

    save_figures(7, lines, tmp_path / "figures.json")

    assert load_figures(tmp_path / "figures.json") == (7, lines)


def test_the_page_shows_the_committed_figures() -> None:
    page = PAGE.read_text()

    assert replace_block(page, BLOCK, COMMAND, format_page(*load_figures(FIGURES))) == page, (
        "run `make attack`: docs/privacy.md and attacks/figures.json differ"
    )


def test_every_committed_attack_is_proven_and_held() -> None:
    _, lines = load_figures()

    assert lines
    assert [each.goal.name for each in lines if not (each.is_proven and each.is_held)] == []
