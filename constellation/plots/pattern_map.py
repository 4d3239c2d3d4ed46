"""The map of a shard's patterns: near means alike, colours are clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import altair as alt
import numpy as np

from constellation.plots.labels import place_labels, shortened
from constellation.plots.look import COLOURS, GREY, INK, MORE_COLOURS, finished, to_bytes
from constellation.plots.projection import nearest, project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.cli.columns import Row
    from constellation.encoding import Embeddings

_WIDTH: Final = 960
_HEIGHT: Final = 640
_MARGIN: Final = 0.05
_NAMED: Final = 24
"""Clusters that may have a label, most devices first."""
_PLACE: Final[dict[str, Any]] = {
    "x": alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, _WIDTH])),
    "y": alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[_HEIGHT, 0])),
    "color": alt.Color("colour:N", scale=None),
}


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Patterns or clusters to draw."""

    rows: Sequence[Row]
    names: Sequence[str]
    """What each is called: titles."""
    embeddings: Embeddings
    """Shape (n, DIMENSION), unit length."""


def draw_patterns(
    patterns: Group, clusters: Group, title: str, subtitle: Sequence[str], *, is_html: bool
) -> bytes:
    """Return the map as a file."""
    places = _pixels(project(np.vstack([patterns.embeddings, clusters.embeddings])))
    at_patterns, at_clusters = places[: len(patterns.rows)], places[len(patterns.rows) :]
    of_patterns, of_clusters = _colours(patterns, clusters)
    dots = _values(patterns, at_patterns, of_patterns)
    marks = _values(clusters, at_clusters, of_clusters)
    layers = [_dots(dots)]
    if marks:
        layers += [_marks(marks), *_labels(clusters, at_clusters, of_clusters)]
    chart = alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT)
    return to_bytes(finished(chart, title, subtitle), is_html=is_html)


def _pixels(places: NDArray[np.float64]) -> NDArray[np.float64]:
    inner = _MARGIN + places * (1 - 2 * _MARGIN)
    return inner * (_WIDTH, _HEIGHT)


def _colours(patterns: Group, clusters: Group) -> tuple[list[str], list[str]]:
    """Return a colour for each pattern and cluster: clusters of most patterns have their own."""
    if not clusters.rows:
        return [COLOURS[0]] * len(patterns.rows), []
    cluster_of = nearest(patterns.embeddings, clusters.embeddings)
    sizes = np.bincount(cluster_of, minlength=len(clusters.rows))
    colours = [GREY] * len(clusters.rows)
    for place, colour in zip(
        np.argsort(-sizes, kind="stable").tolist(), MORE_COLOURS, strict=False
    ):
        colours[place] = colour
    return [colours[place] for place in cluster_of.tolist()], colours


def _values(group: Group, places: NDArray[np.float64], colours: Sequence[str]) -> list[Any]:
    return [
        {
            "x": round(x, 1),
            "y": round(y, 1),
            "colour": colour,
            "titles": name,
            "genres": ", ".join(row.genres) or "none",
            "success": row.success_rate,
            "count": row.sample_count,
            "when": row.context or "always",
        }
        for row, name, (x, y), colour in zip(
            group.rows, group.names, places.tolist(), colours, strict=True
        )
    ]


def _dots(values: list[Any]) -> Any:
    return (
        alt.Chart(alt.InlineData(values=values))
        .mark_circle(size=42, opacity=0.55, stroke="white", strokeWidth=0.4)
        .encode(**_PLACE, tooltip=[*_said("views"), alt.Tooltip("when:N", title="when")])
    )


def _marks(values: list[Any]) -> Any:
    return (
        alt.Chart(alt.InlineData(values=values))
        .mark_point(shape="diamond", filled=True, opacity=1, stroke="white", strokeWidth=1.4)
        .encode(
            **_PLACE,
            size=alt.Size("count:Q", scale=alt.Scale(range=[90, 420]), legend=None),
            tooltip=_said("devices"),
        )
    )


def _said(counted: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("titles:N", title="titles"),
        alt.Tooltip("genres:N", title="genres"),
        alt.Tooltip("success:Q", title="success", format=".0%"),
        alt.Tooltip("count:Q", title=counted, format=",d"),
    ]


def _labels(
    clusters: Group, places: NDArray[np.float64], colours: Sequence[str]
) -> list[alt.Chart]:
    """Return the names of the largest clusters: a white edge below, so that dots do not disturb."""
    order = np.argsort([-row.sample_count for row in clusters.rows], kind="stable")[:_NAMED]
    names = [shortened(clusters.names[place].partition("; ")[0]) for place in order.tolist()]
    labels = place_labels(places[order], names, (_WIDTH, _HEIGHT))
    values = [
        {
            "x": label.x,
            "y": label.y,
            "text": label.text,
            "colour": INK if colours[order[label.place]] == GREY else colours[order[label.place]],
        }
        for label in labels
    ]
    text = alt.Chart(alt.InlineData(values=values)).encode(**_PLACE, text="text:N")
    edge = text.mark_text(fontSize=12, fontWeight=700, stroke="white", strokeWidth=4, opacity=0.9)
    return [edge, text.mark_text(fontSize=12, fontWeight=700)]
