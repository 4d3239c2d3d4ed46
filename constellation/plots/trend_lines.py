"""Plot trends: one line per trend, its number of devices hour by hour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import altair as alt

from constellation.plots.labels import LINE_PIXELS, shorten, spread_apart
from constellation.plots.style import COLOURS, TEXT_COLOUR, apply_style, render

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH: Final = 860
_HEIGHT: Final = 300
_LABEL_PIXELS: Final = 250
_AXIS_PIXELS: Final = 34
"""Room for the numbers of the axis, so that all panels have the same width."""
_MIN_LINE_WIDTH: Final = 1.8
_LINE_WIDTH_STEP: Final = 0.5
"""A stronger trend has a wider line, so that the line of a weaker one does not hide it."""
_HOUR_MILLISECONDS: Final = 3_600_000
_DAY_HOURS: Final = 24
_DATE_AXIS_HOURS: Final = 3 * _DAY_HOURS
"""The axis shows dates instead of times of day when there are more hours than this."""
_HEADROOM: Final = 1.06
"""The height of a panel, as a multiple of its highest value."""


@dataclass(frozen=True, slots=True)
class PlotLine:
    """The line of one trend."""

    name: str
    hourly_devices: Sequence[int]
    """One value per hour, the oldest hour first."""
    direction: str
    """The direction and the region of the trend, such as "rising, global"."""


@dataclass(frozen=True, slots=True)
class PlotPanel:
    """A panel whose lines share one scale."""

    title: str
    lines: Sequence[PlotLine]
    """The strongest trend first; no more than COLOURS. Not empty, and of equal length."""


def draw_trends(
    panels: Sequence[PlotPanel],
    newest_hour: int,
    title: str,
    subtitle: Sequence[str],
    *,
    is_html: bool,
) -> bytes:
    """Return the panels, one below the other, as PNG or HTML.

    `newest_hour` is the hour of the last value of every line, in hours since 1970, UTC.
    """
    charts = [_draw_panel(panel, newest_hour) for panel in panels]
    return render(apply_style(alt.vconcat(*charts, spacing=28), title, subtitle), is_html=is_html)


def _draw_panel(panel: PlotPanel, newest_hour: int) -> Any:
    highest = max(1, *(max(line.hourly_devices) for line in panel.lines)) * _HEADROOM
    base = alt.Chart(alt.InlineData(values=_to_values(panel, newest_hour))).encode(
        x=_make_hour_axis(len(panel.lines[0].hourly_devices), newest_hour),
        y=_make_devices_axis(highest),
        color=alt.Color("colour:N", scale=None),
        detail="name:N",
    )
    lines = base.mark_line(strokeJoin="round", strokeCap="butt").encode(
        strokeWidth=alt.StrokeWidth("width:Q", scale=None)
    )
    hover = base.mark_circle(size=60, opacity=0).encode(tooltip=_make_tooltips())
    title = alt.TitleParams(
        panel.title, anchor="start", fontSize=13, fontWeight=600, color=TEXT_COLOUR, offset=8
    )
    layered = alt.layer(lines, hover, _draw_line_labels(panel, highest))
    return layered.properties(width=_WIDTH, height=_HEIGHT, title=title)


def _to_values(panel: PlotPanel, newest_hour: int) -> list[Any]:
    """Return one data point per line and hour."""
    hours = len(panel.lines[0].hourly_devices)
    return [
        {
            "hour": (newest_hour - hours + 1 + index) * _HOUR_MILLISECONDS,
            "devices": devices,
            "name": line.name,
            "direction": line.direction,
            "colour": colour,
            "width": _MIN_LINE_WIDTH + _LINE_WIDTH_STEP * (len(panel.lines) - 1 - rank),
        }
        for rank, (line, colour) in enumerate(zip(panel.lines, COLOURS, strict=False))
        for index, devices in enumerate(line.hourly_devices)
    ]


def _make_hour_axis(hours: int, newest_hour: int) -> alt.X:
    first, last = (newest_hour - hours + 1) * _HOUR_MILLISECONDS, newest_hour * _HOUR_MILLISECONDS
    has_dates = hours > _DATE_AXIS_HOURS
    return alt.X(
        "hour:T",
        title=None,
        scale=alt.Scale(type="utc", domain=[first, last]),
        axis=alt.Axis(
            format="%a %d %b" if has_dates else "%a %H:%M",
            tickCount={"interval": "day", "step": 1} if has_dates else 8,
            grid=False,
            labelFlush=True,
        ),
    )


def _make_devices_axis(highest: float) -> alt.Y:
    return alt.Y(
        "devices:Q",
        title=None,
        scale=alt.Scale(domain=[0, highest], nice=False),
        axis=alt.Axis(tickCount=5, format="d", tickMinStep=1, ticks=False, minExtent=_AXIS_PIXELS),
    )


def _make_tooltips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("name:N", title="trend"),
        alt.Tooltip(
            "hour:T", title="hour (UTC)", format="%a %d %b %H:%M", timeUnit="utcyearmonthdatehours"
        ),
        alt.Tooltip("devices:Q", title="devices", format=",d"),
        alt.Tooltip("direction:N", title="direction"),
    ]


def _draw_line_labels(panel: PlotPanel, highest: float) -> Any:
    """Return the name of each line at its right end; close names are moved apart."""
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
