"""The committed Grafana dashboards: their panels and expressions."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.deploy.prometheus import ROOT

GRAFANA = ROOT / "deploy" / "grafana"
FOLDER = GRAFANA / "dashboards"
NAMES = ("federation", "fleet", "shard")
_VARIABLE_VALUES = {
    "$__rate_interval": "5m",
    "$shard_id": "0",
    "$instance": ".*",
}
"""Values that replace Grafana's variables when an expression is checked."""
_LABELS = re.compile(r"([\w:]+)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


@dataclass(frozen=True)
class DashboardQuery:
    """One expression of a dashboard, and where it is."""

    source: str
    expression: str

    @property
    def matchers(self) -> list[tuple[str, str, str, str]]:
        """Each label matcher as (metric, label, operator, value)."""
        return [
            (metric, *matcher)
            for metric, inside in _LABELS.findall(self.expression)
            for matcher in _MATCHER.findall(inside)
        ]

    @property
    def grouping_labels(self) -> set[str]:
        """The labels by which the expression groups and joins."""
        lists = ",".join(_GROUPING.findall(self.expression))
        return {label.strip() for label in lists.split(",")} - {""}


def read_dashboard(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return read


def read_panels(name: str) -> list[dict[str, Any]]:
    """Return the panels that show data, without the rows between them."""
    return [panel for panel in read_dashboard(name)["panels"] if panel["type"] != "row"]


def read_queries(name: str) -> list[DashboardQuery]:
    """Return every expression of a dashboard, with its variables replaced by values."""
    found = [
        DashboardQuery(f"{name}: {panel['title']}", substitute_variables(target["expr"]))
        for panel in read_panels(name)
        for target in panel["targets"]
    ]
    annotations = read_dashboard(name)["annotations"]["list"]
    found += [
        DashboardQuery(f"{name}: annotation {each['name']}", substitute_variables(each["expr"]))
        for each in annotations
        if "expr" in each
    ]
    return found


def substitute_variables(expression: str) -> str:
    for variable, value in _VARIABLE_VALUES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, expression
    return expression
