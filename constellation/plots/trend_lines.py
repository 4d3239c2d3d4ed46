"""The trends of a shard: how many devices were behind each, hour by hour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import altair as alt

from constellation.plots.labels import LINE_PIXELS, shorten, spread_apart
from constellation.plots.look import COLOURS, TEXT_COLOUR, apply_style, render

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH: Final = 860
_HEIGHT: Final = 300
_LABEL_PIXELS: Final = 250
_AXIS_PIXELS: Final = 34
"""For the numbers of every panel, so that panels are as wide as each other."""
_MIN_LINE_WIDTH: Final = 1.8
_LINE_WIDTH_STEP: Final = 0.5
"""A stronger trend's line is wider than the next one's, which so does not hide it."""
_HOUR_MILLISECONDS: Final = 3_600_000
_DAY_HOURS: Final = 24
_HEADROOM: Final = 1.06
"""Above the highest line."""


@dataclass(frozen=True, slots=True)
class PlotLine:
    """One trend."""

    name: str
    hourly_devices: Sequence[int]
    """The oldest hour first."""
    direction: str
    """Where it is going, and where it holds."""


@dataclass(frozen=True, slots=True)
class PlotPanel:
    """Trends that share a scale."""

    title: str
    lines: Sequence[PlotLine]
    """Strongest first, no more than there are colours."""


def draw_trends(
    panels: Sequence[PlotPanel],
    newest_hour: int,
    title: str,
    subtitle: Sequence[str],
    *,
    is_html: bool,
) -> bytes:
    """Return the trends as a file."""
    charts = [_draw_panel(panel, newest_hour) for panel in panels]
    return render(apply_style(alt.vconcat(*charts, spacing=28), title, subtitle), is_html=is_html)


def _draw_panel(panel: PlotPanel, newest_hour: int) -> Any:
    hours = len(panel.lines[0].hourly_devices)
    highest = max(1, *(max(line.hourly_devices) for line in panel.lines)) * _HEADROOM
    points = [
        {
            "hour": (newest_hour - hours + 1 + index) * _HOUR_MILLISECONDS,
            "devices": devices,
            "name": line.name,
            "told": line.direction,
            "colour": colour,
            "width": _MIN_LINE_WIDTH + _LINE_WIDTH_STEP * (len(panel.lines) - 1 - rank),
        }
        for rank, (line, colour) in enumerate(zip(panel.lines, COLOURS, strict=False))
        for index, devices in enumerate(line.hourly_devices)
    ]
    first, last = (newest_hour - hours + 1) * _HOUR_MILLISECONDS, newest_hour * _HOUR_MILLISECONDS
    hour = alt.X(
        "hour:T",
        title=None,
        scale=alt.Scale(type="utc", domain=[first, last]),
        axis=alt.Axis(
            format="%a %d %b" if hours > 3 * _DAY_HOURS else "%a %H:%M",
            tickCount={"interval": "day", "step": 1} if hours > 3 * _DAY_HOURS else 8,
            grid=False,
            labelFlush=True,
        ),
    )
    devices = alt.Y(
        "devices:Q",
        title=None,
        scale=alt.Scale(domain=[0, highest], nice=False),
        axis=alt.Axis(tickCount=5, format="d", tickMinStep=1, ticks=False, minExtent=_AXIS_PIXELS),
    )
    colour = alt.Color("colour:N", scale=None)
    base = alt.Chart(alt.InlineData(values=points)).encode(
        x=hour, y=devices, color=colour, detail="name:N"
    )
    lines = base.mark_line(strokeJoin="round", strokeCap="butt").encode(
        strokeWidth=alt.StrokeWidth("width:Q", scale=None)
    )
    hover = base.mark_circle(size=60, opacity=0).encode(
        tooltip=[
            alt.Tooltip("name:N", title="trend"),
            alt.Tooltip(
                "hour:T",
                title="hour (UTC)",
                format="%a %d %b %H:%M",
                timeUnit="utcyearmonthdatehours",
            ),
            alt.Tooltip("devices:Q", title="devices", format=",d"),
            alt.Tooltip("told:N", title="now"),
        ]
    )
    title = alt.TitleParams(
        panel.title, anchor="start", fontSize=13, fontWeight=600, color=TEXT_COLOUR, offset=8
    )
    layered = alt.layer(lines, hover, _draw_line_labels(panel, highest))
    return layered.properties(width=_WIDTH, height=_HEIGHT, title=title)


def _draw_line_labels(panel: PlotPanel, highest: float) -> Any:
    """Return what names each line at its right end; lines that end together are spread apart."""
    ends = [_HEIGHT * line.hourly_devices[-1] / highest for line in panel.lines]
    heights = spread_apart(ends, LINE_PIXELS, float(_HEIGHT))
    values: list[Any] = [
        {"text": shorten(line.name), "y": _HEIGHT - height, "colour": colour}
        for line, height, colour in zip(panel.lines, heights, COLOURS, strict=False)
    ]
    return (
        alt.Chart(alt.InlineData(values=values))
        .mark_text(align="left", dx=10, fontSize=12, fontWeight=600, limit=_LABEL_PIXELS)
        .encode(
            x=alt.value(_WIDTH),
            y=alt.Y("y:Q", scale=None),
            text="text:N",
            color=alt.Color("colour:N", scale=None),
        )
    )
