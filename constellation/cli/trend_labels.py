"""The words for the direction of a trend, in rich's markup."""

from __future__ import annotations

from typing import Final

from constellation.v1 import patterns_pb2

_LABELS: Final = {
    patterns_pb2.TREND_DIRECTION_RISING: "[green]rising[/]",
    patterns_pb2.TREND_DIRECTION_PEAKING: "peaking",
    patterns_pb2.TREND_DIRECTION_FALLING: "[red]falling[/]",
}


def format_direction(trend: patterns_pb2.Trend) -> str:
    """Return whether a trend is rising, peaking or falling; empty when it is unspecified."""
    return _LABELS.get(trend.direction, "")
