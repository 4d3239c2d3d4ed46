"""The picture of an evaluation: bars against the baselines, and the cold-start curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import altair as alt

from constellation.plots.style import COLOURS, GREY, TEXT_COLOUR, apply_style, render
from quality.baselines import POPULARITY

if TYPE_CHECKING:
    from quality.results import ChainResult, Row

PICTURE: Final = Path("build/quality.png")
_WIDTH: Final = 620
_BAR_HEIGHT: Final = 24
_CURVE_HEIGHT: Final = 280
_HEADROOM: Final = 1.12
"""The end of an axis, as a multiple of its largest value, so that labels have room."""
_TITLE: Final = "What a television gains from the others"


def draw_quality(result: ChainResult) -> bytes:
    """Return the picture as PNG."""
    subtitle = (
        f"NDCG@10 of {result.households} households on the {result.split} split; "
        "lines are standard errors"
    )
    chart = alt.vconcat(_draw_bars(result), _draw_curve(result), spacing=36)
    return render(apply_style(chart, _TITLE, [subtitle]), is_html=False)


def _draw_bars(result: ChainResult) -> Any:
    values = [
        *(_to_bar(row, GREY) for row in result.baselines),
        *(_to_bar(row, COLOURS[0]) for row in result.devices),
    ]
    largest = max(each["high"] for each in values) * _HEADROOM
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("label:N", sort=None, title=None, axis=alt.Axis(labelLimit=320, ticks=False))
    )
    scale = alt.Scale(domain=[0, largest], nice=False)
    bars = base.mark_bar(height=16).encode(
        x=alt.X("ndcg:Q", title=None, scale=scale, axis=alt.Axis(format=".2f", tickCount=6)),
        color=alt.Color("colour:N", scale=None),
    )
    errors = base.mark_rule(color=TEXT_COLOUR).encode(x=alt.X("low:Q", scale=scale), x2="high:Q")
    texts = base.mark_text(align="left", dx=6, fontSize=12, color=TEXT_COLOUR).encode(
        x=alt.X("high:Q", scale=scale), text=alt.Text("ndcg:Q", format=".3f")
    )
    return alt.layer(bars, errors, texts).properties(
        width=_WIDTH, height=_BAR_HEIGHT * len(values), title=_make_title("Who recommends")
    )


def _to_bar(row: Row, colour: str) -> dict[str, Any]:
    quality = row.quality
    return {
        "label": row.label,
        "ndcg": quality.ndcg,
        "low": quality.ndcg - quality.ndcg_error,
        "high": quality.ndcg + quality.ndcg_error,
        "colour": colour,
    }


def _draw_curve(result: ChainResult) -> Any:
    values: list[Any] = [
        {
            "views": str(point.views),
            "ndcg": point.quality.ndcg,
            "low": point.quality.ndcg - point.quality.ndcg_error,
            "high": point.quality.ndcg + point.quality.ndcg_error,
        }
        for point in result.curve
    ]
    popularity = result.newcomer_popularity.ndcg
    largest = max(popularity, *(each["high"] for each in values)) * _HEADROOM
    scale = alt.Scale(domain=[0, largest], nice=False)
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X(
            "views:O",
            sort=None,
            title="views of its own, while the other devices are complete",
            axis=alt.Axis(labelAngle=0),
        )
    )
    line = base.mark_line(point=True, color=COLOURS[0], strokeWidth=2.5).encode(
        y=alt.Y("ndcg:Q", title=None, scale=scale, axis=alt.Axis(format=".2f", tickCount=5))
    )
    errors = base.mark_rule(color=COLOURS[0]).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    return alt.layer(_draw_level(popularity, scale), errors, line).properties(
        width=_WIDTH, height=_CURVE_HEIGHT, title=_make_title("A device that is new to the fleet")
    )


def _draw_level(level: float, scale: alt.Scale) -> Any:
    """Return the line of the list of popular films."""
    base = alt.Chart(alt.InlineData(values=[{"level": level, "label": POPULARITY}])).encode(
        y=alt.Y("level:Q", scale=scale)
    )
    rule = base.mark_rule(color=GREY, strokeWidth=2, strokeDash=[5, 4])
    text = base.mark_text(align="left", dx=4, dy=-8, fontSize=12, color=TEXT_COLOUR).encode(
        x=alt.value(0), text="label:N"
    )
    return alt.layer(rule, text)


def _make_title(text: str) -> alt.TitleParams:
    return alt.TitleParams(
        text, anchor="start", fontSize=13, fontWeight=600, color=TEXT_COLOUR, offset=8
    )
