"""The style that all plots share, and their rendering to PNG or HTML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import altair as alt
import vl_convert

from constellation.cli.printing import show_controls

if TYPE_CHECKING:
    from collections.abc import Sequence

COLOURS: Final = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8C564B",
    "#5D3A9B",
)
"""Six colours of Okabe and Ito, which most people can tell apart, and two more. Their yellow is
missing because it is hard to see on white."""
MORE_COLOURS: Final = (
    *COLOURS,
    "#882255",
    "#44AA99",
    "#7A7A00",
    "#332288",
    "#EE6677",
    "#228833",
    "#AA7744",
    "#997ACC",
)
"""The same and eight more, from Paul Tol. Some people cannot tell all of them apart, so use them
only where names stand beside them."""
GREY: Final = "#B8BEC6"
TEXT_COLOUR: Final = "#22272E"
MUTED_TEXT_COLOUR: Final = "#6B7480"
_FONT: Final = "Roboto, 'Helvetica Neue', Arial, sans-serif"
_SCALE: Final = 2
"""Pixels of a PNG per pixel of the layout; 2 is sharp on screens of high resolution."""


def apply_style(chart: Any, title: str, subtitle: Sequence[str]) -> Any:
    """Return a chart with title and subtitle, and without decoration that carries no data."""
    head = alt.TitleParams(
        title,
        subtitle=list(subtitle),
        anchor="start",
        offset=14,
        fontSize=20,
        fontWeight=600,
        color=TEXT_COLOUR,
        subtitleFontSize=13,
        subtitleColor=MUTED_TEXT_COLOUR,
        subtitlePadding=6,
    )
    return (
        chart.properties(title=head, padding=20, background="white")
        .configure(font=_FONT)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=MUTED_TEXT_COLOUR,
            titleColor=MUTED_TEXT_COLOUR,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            gridColor="#E8EBEE",
            domain=False,
            tickColor="#E8EBEE",
        )
    )


def render(chart: Any, *, is_html: bool) -> bytes:
    """Return a chart as PNG, or as an HTML page that loads nothing from the network.

    No text of the chart can end the page's script, and control characters are visible.
    """
    if is_html:
        page: str = chart.to_html(
            inline=True, embed_options={"actions": False}, json_kwds={"cls": _ScriptEncoder}
        )
        return page.encode()
    picture: bytes = vl_convert.vegalite_to_png(_show_all_controls(chart.to_dict()), scale=_SCALE)
    return picture


class _ScriptEncoder(json.JSONEncoder):
    """Writes JSON that may stand inside of a script element: it has no markup."""

    def encode(self, o: Any) -> str:
        text = super().encode(_show_all_controls(o))
        for character in "<>&":
            text = text.replace(character, f"\\u{ord(character):04x}")
        return text


def _show_all_controls(value: Any) -> Any:
    """Return a specification with the control characters of its texts visible.

    SVG, from which a PNG is made, cannot hold them.
    """
    if isinstance(value, str):
        return show_controls(value)
    if isinstance(value, dict):
        return {key: _show_all_controls(each) for key, each in value.items()}
    return [_show_all_controls(each) for each in value] if isinstance(value, list) else value
