from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.figures import commit_figures, find_value, load_figures
from tests.benchmarks.samples import make_row

if TYPE_CHECKING:
    from pathlib import Path


def test_the_rows_of_a_case_are_replaced_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    commit_figures([make_row("a"), make_row("b"), make_row("c", case="search")], file)

    commit_figures([make_row("a", 7.0)], file)

    assert [(row["case"], row["name"], row["value"]) for row in load_figures(file)] == [
        ("search", "c", 5.0),
        ("streams", "a", 7.0),
    ]


def test_digits_that_are_noise_are_not_committed(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"

    commit_figures([make_row("a", 1234.5678, spread=[0.123456, 2])], file)

    (row,) = load_figures(file)
    assert (row["value"], row["spread"]) == (1235.0, [0.1235, 2])


def test_a_figure_is_found_by_its_name() -> None:
    assert find_value([make_row("a"), make_row("b", 6.0)], "b") == 6.0
    with pytest.raises(KeyError, match="no figure c"):
        find_value([make_row("a")], "c")
