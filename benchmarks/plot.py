"""The pictures of a report: how far each figure is from its reach, and how costs grow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import altair as alt

from benchmarks.reach import REACH
from constellation.plots.style import COLOURS, GREY, TEXT_COLOUR, apply_style, render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.report import Row

PICTURE: Final = Path("build/bench.png")
GROWTH_PICTURE: Final = Path("build/bench-growth.png")
_WIDTH: Final = 560
_BAR_HEIGHT: Final = 24
_DOMAIN: Final = (0.1, 10.0)
_GROWTH_HEIGHT: Final = 320
_GROWTH_NAME: Final = re.compile(r"growth_(\w+)_(\d+)([km]?)")
_MULTIPLES: Final = {"": 1, "k": 1000, "m": 1_000_000}
_HIT, _MISSED = COLOURS[0], COLOURS[1]


def draw_reach(rows: Sequence[Row]) -> bytes:
    """Return the picture of every figure as a multiple of its reach, as PNG."""
    values = [_to_bar(row) for row in rows if row["name"] in REACH]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=320, ticks=False))
    )
    scale = alt.Scale(type="log", domain=list(_DOMAIN), clamp=True)
    bars = base.mark_bar(height=14).encode(
        x=alt.X(
            "better_by:Q",
            title="times better than the reach",
            scale=scale,
            axis=alt.Axis(values=[0.1, 0.3, 1, 3, 10], format="~g"),
        ),
        x2=alt.datum(1),
        color=alt.Color("colour:N", scale=None),
    )
    texts = base.mark_text(align="left", dx=6, fontSize=12, color=TEXT_COLOUR).encode(
        x=alt.X("text_at:Q", scale=scale), text="text:N"
    )
    line = (
        alt.Chart(alt.InlineData(values=[{"reach": 1}]))
        .mark_rule(color=GREY, strokeWidth=2)
        .encode(x=alt.X("reach:Q", scale=scale))
    )
    chart = alt.layer(bars, line, texts).properties(width=_WIDTH, height=_BAR_HEIGHT * len(values))
    subtitle = [
        "Right of the line: better than the reach. Left of it, in the other colour: missed."
    ]
    return render(apply_style(chart, "Each figure beside its reach", subtitle), is_html=False)


def _to_bar(row: Row) -> dict[str, Any]:
    reach = REACH[row["name"]]
    figure = row[reach.column]
    better_by = figure / reach.bound if reach.is_least else reach.bound / figure
    unit = row["unit"] if reach.column == "value" else "x"
    return {
        "name": row["name"],
        "better_by": better_by,
        "text_at": min(max(better_by, 1.0), _DOMAIN[1] / 2),
        "text": f"{figure:.3g} {unit} ({reach.describe('')})",
        "colour": _HIT if reach.is_met(row) else _MISSED,
    }


def draw_growth(rows: Sequence[Row]) -> bytes:
    """Return the picture of every cost that was measured at several sizes, as PNG."""
    points = [point for row in rows if (point := _to_point(row)) is not None]
    chart = (
        alt.Chart(alt.InlineData(values=points))
        .mark_line(point=True, strokeWidth=2.5)
        .encode(
            x=alt.X(
                "size:Q",
                title="patterns, streams or shards",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(format="~s"),
            ),
            y=alt.Y(
                "times:Q",
                title="times the cost at the smallest size",
                scale=alt.Scale(type="log"),
                axis=alt.Axis(format="~g"),
            ),
            color=alt.Color("figure:N", title=None, scale=alt.Scale(range=list(COLOURS))),
        )
        .properties(width=_WIDTH, height=_GROWTH_HEIGHT)
    )
    subtitle = ["A level line costs the same at every size."]
    return render(apply_style(chart, "How costs grow", subtitle), is_html=False)


def _to_point(row: Row) -> dict[str, Any] | None:
    """Return a figure that was measured at one size of several; None for any other figure."""
    found = _GROWTH_NAME.fullmatch(row["name"])
    if found is None:
        return None
    figure, digits, multiple = found.groups()
    return {
        "figure": figure.replace("_", " "),
        "size": int(digits) * _MULTIPLES[multiple],
        "times": row["ratio"],
    }
