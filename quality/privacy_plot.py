"""The picture of what differential privacy costs: NDCG by epsilon, one line for each fleet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import altair as alt

from constellation.plots.style import COLOURS, GREY, apply_style, render

if TYPE_CHECKING:
    from quality.privacy import PrivacyResult, PrivacyRow

PRIVACY_PICTURE: Final = Path("build/privacy.png")
_WIDTH: Final = 620
_HEIGHT: Final = 320
_HEADROOM: Final = 1.15
_TITLE: Final = "What differential privacy costs"


def draw_privacy(result: PrivacyResult) -> bytes:
    """Return the picture as PNG."""
    exact = max(row.related.ndcg for row in result.rows if row.epsilon is None)
    scale = alt.Scale(domain=[0, exact * _HEADROOM], nice=False)
    points = [_to_point(row) for row in result.rows if row.epsilon is not None]
    base = alt.Chart(alt.InlineData(values=points)).encode(
        x=alt.X("epsilon:O", sort=None, title="epsilon of a device and week"),
        color=alt.Color("devices:N", sort=None, scale=alt.Scale(range=list(COLOURS)), title=None),
    )
    lines = base.mark_line(point=True, strokeWidth=2.5).encode(
        y=alt.Y("ndcg:Q", title=None, scale=scale, axis=alt.Axis(format=".2f", tickCount=5))
    )
    errors = base.mark_rule().encode(y=alt.Y("low:Q", scale=scale), y2="high:Q")
    level = alt.Chart(alt.InlineData(values=[{"level": exact, "label": "without noise"}]))
    level = level.encode(y=alt.Y("level:Q", scale=scale))
    rule = level.mark_rule(color=GREY, strokeWidth=2, strokeDash=[5, 4])
    text = level.mark_text(align="left", dx=4, dy=-8, fontSize=12).encode(
        x=alt.value(0), text="label:N"
    )
    chart = alt.layer(rule, text, errors, lines).properties(width=_WIDTH, height=_HEIGHT)
    subtitle = (
        f"NDCG@10 of related content for {result.households} households on the {result.split} "
        "split, by size of the fleet"
    )
    return render(apply_style(chart, _TITLE, [subtitle]), is_html=False)


def _to_point(row: PrivacyRow) -> dict[str, Any]:
    quality = row.related
    return {
        "epsilon": f"{row.epsilon:g}",
        "devices": f"{row.devices:,} devices",
        "ndcg": quality.ndcg,
        "low": quality.ndcg - quality.ndcg_error,
        "high": quality.ndcg + quality.ndcg_error,
    }
