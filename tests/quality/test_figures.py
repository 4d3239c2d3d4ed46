from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from quality.figures import load_losses, load_short, save_result
from quality.losses import Loss
from quality.metrics import Quality
from quality.results import LossesResult, ShortResult, ShortRun

if TYPE_CHECKING:
    from pathlib import Path


def test_figures_of_one_kind_are_replaced_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    quality = Quality(3, 0.12, 0.01, 0.2, 0.5, 0.03)
    losses = LossesResult("validation", [Loss("lambda", "50", quality)])
    short = ShortResult("validation", 2, [ShortRun(0.2, 0.1), ShortRun(0.1, 0.3)])

    save_result(losses, file)
    save_result(short, file)
    save_result(LossesResult("validation", [*losses.losses, *losses.losses]), file)

    assert load_short(file) == short
    assert load_losses(file).losses == [*losses.losses, *losses.losses]


def test_the_lowest_of_each_figure_is_guarded() -> None:
    short = ShortResult("validation", 2, [ShortRun(0.2, 0.1), ShortRun(0.1, 0.3)])

    assert short.find_lowest() == ShortRun(with_everything=0.1, new_device=0.1)


def test_figures_are_rounded_so_that_a_change_of_the_file_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"

    save_result(ShortResult("validation", 2, [ShortRun(0.123456, 1.0)]), file)

    assert json.loads(file.read_text())["short"]["runs"][0]["with_everything"] == 0.1235


def test_figures_that_were_never_measured_are_missing(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    save_result(ShortResult("validation", 2, []), file)

    with pytest.raises(KeyError, match="losses"):
        load_losses(file)
