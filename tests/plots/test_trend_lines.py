from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("altair", reason="needs the extra plot")

from constellation.plots.style import COLOURS
from constellation.plots.trend_lines import PlotLine, PlotPanel, draw_trends


def test_each_line_has_its_hours_its_colour_and_a_width_of_its_rank() -> None:
    panel = PlotPanel(
        "Genres",
        [PlotLine("Drama", [1, 2], "rising, global"), PlotLine("War", [0, 3], "falling, north")],
    )

    page = draw_trends([panel], 500_000, "Trends", ["of a test"], is_html=True).decode()

    found = re.search(r"^\s*const spec = (\{.*\});$", page, re.MULTILINE)
    assert found is not None
    (values, *_) = (
        each for each in json.loads(found[1])["datasets"].values() if "devices" in each[0]
    )
    assert [(each["name"], each["devices"], each["direction"]) for each in values] == [
        ("Drama", 1, "rising, global"),
        ("Drama", 2, "rising, global"),
        ("War", 0, "falling, north"),
        ("War", 3, "falling, north"),
    ]
    assert [each["hour"] for each in values[:2]] == [499_999 * 3_600_000, 500_000 * 3_600_000]
    assert [each["colour"] for each in values[::2]] == list(COLOURS[:2])
    assert values[0]["width"] > values[2]["width"]
