"""Plot a map of patterns and clusters: similar ones are close together, colours are clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import altair as alt
import numpy as np

from constellation.plots.labels import place_labels, shorten
from constellation.plots.projection import find_nearest, project
from constellation.plots.style import COLOURS, GREY, MORE_COLOURS, TEXT_COLOUR, apply_style, render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.cli.columns import PatternRow
    from constellation.encoding import Embeddings

_WIDTH: Final = 960
_HEIGHT: Final = 640
_MARGIN: Final = 0.05
_MAX_LABELS: Final = 24
"""At most this many clusters have a label, those of most devices first."""
_POSITION_CHANNELS: Final[dict[str, Any]] = {
    "x": alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, _WIDTH])),
    "y": alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[_HEIGHT, 0])),
    "color": alt.Color("colour:N", scale=None),
}


@dataclass(frozen=True, slots=True, eq=False)
class PointGroup:
    """The patterns or the clusters of a map."""

    rows: Sequence[PatternRow]
    names: Sequence[str]
    """The name of each: titles, separated by "; "."""
    embeddings: Embeddings
    """Shape (n, DIMENSION), unit length."""


def draw_patterns(
    patterns: PointGroup,
    clusters: PointGroup,
    title: str,
    subtitle: Sequence[str],
    *,
    is_html: bool,
) -> bytes:
    """Return the map as PNG or HTML."""
    positions = _scale_to_pixels(project(np.vstack([patterns.embeddings, clusters.embeddings])))
    pattern_positions, cluster_positions = (
        positions[: len(patterns.rows)],
        positions[len(patterns.rows) :],
    )
    pattern_colours, cluster_colours = _assign_colours(patterns, clusters)
    dots = _to_values(patterns, pattern_positions, pattern_colours)
    marks = _to_values(clusters, cluster_positions, cluster_colours)
    layers = [_draw_dots(dots)]
    if marks:
        layers += [
            _draw_diamonds(marks),
            *_draw_labels(clusters, cluster_positions, cluster_colours),
        ]
    chart = alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT)
    return render(apply_style(chart, title, subtitle), is_html=is_html)


def _scale_to_pixels(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    inner = _MARGIN + positions * (1 - 2 * _MARGIN)
    return inner * (_WIDTH, _HEIGHT)


def _assign_colours(patterns: PointGroup, clusters: PointGroup) -> tuple[list[str], list[str]]:
    """Return a colour per pattern and per cluster.

    A pattern has the colour of its nearest cluster. The clusters of most patterns have a colour of
    their own; the others are grey.
    """
    if not clusters.rows:
        return [COLOURS[0]] * len(patterns.rows), []
    cluster_of = find_nearest(patterns.embeddings, clusters.embeddings)
    sizes = np.bincount(cluster_of, minlength=len(clusters.rows))
    colours = [GREY] * len(clusters.rows)
    for index, colour in zip(
        np.argsort(-sizes, kind="stable").tolist(), MORE_COLOURS, strict=False
    ):
        colours[index] = colour
    return [colours[cluster] for cluster in cluster_of.tolist()], colours


def _to_values(
    group: PointGroup, positions: NDArray[np.float64], colours: Sequence[str]
) -> list[Any]:
    return [
        {
            "x": round(x, 1),
            "y": round(y, 1),
            "colour": colour,
            "titles": name,
            "genres": ", ".join(row.genres) or "none",
            "success": row.success_rate,
            "count": row.sample_count,
            "context": row.context or "any",
        }
        for row, name, (x, y), colour in zip(
            group.rows, group.names, positions.tolist(), colours, strict=True
        )
    ]


def _draw_dots(values: list[Any]) -> Any:
    return (
        alt.Chart(alt.InlineData(values=values))
        .mark_circle(size=42, opacity=0.55, stroke="white", strokeWidth=0.4)
        .encode(
            **_POSITION_CHANNELS,
            tooltip=[*_make_tooltips("views"), alt.Tooltip("context:N", title="context")],
        )
    )


def _draw_diamonds(values: list[Any]) -> Any:
    return (
        alt.Chart(alt.InlineData(values=values))
        .mark_point(shape="diamond", filled=True, opacity=1, stroke="white", strokeWidth=1.4)
        .encode(
            **_POSITION_CHANNELS,
            size=alt.Size("count:Q", scale=alt.Scale(range=[90, 420]), legend=None),
            tooltip=_make_tooltips("devices"),
        )
    )


def _make_tooltips(count_title: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("titles:N", title="titles"),
        alt.Tooltip("genres:N", title="genres"),
        alt.Tooltip("success:Q", title="success rate", format=".0%"),
        alt.Tooltip("count:Q", title=count_title, format=",d"),
    ]


def _draw_labels(
    clusters: PointGroup, positions: NDArray[np.float64], colours: Sequence[str]
) -> list[alt.Chart]:
    """Return the names of the largest clusters, with a white edge that separates them from dots."""
    order = np.argsort([-row.sample_count for row in clusters.rows], kind="stable")[:_MAX_LABELS]
    names = [shorten(clusters.names[index].partition("; ")[0]) for index in order.tolist()]
    labels = place_labels(positions[order], names, (_WIDTH, _HEIGHT))
    values = [
        {
            "x": label.x,
            "y": label.y,
            "text": label.text,
            "colour": TEXT_COLOUR
            if colours[order[label.mark_index]] == GREY
            else colours[order[label.mark_index]],
        }
        for label in labels
    ]
    text = alt.Chart(alt.InlineData(values=values)).encode(**_POSITION_CHANNELS, text="text:N")
    edge = text.mark_text(fontSize=12, fontWeight=700, stroke="white", strokeWidth=4, opacity=0.9)
    return [edge, text.mark_text(fontSize=12, fontWeight=700)]
