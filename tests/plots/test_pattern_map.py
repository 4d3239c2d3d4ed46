from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("altair", reason="needs the extra plot")

from constellation.cli.columns import PatternRow
from constellation.plots.pattern_map import PointGroup, draw_patterns
from constellation.plots.style import COLOURS, GREY, MORE_COLOURS
from tests.deltas import embedding

if TYPE_CHECKING:
    from collections.abc import Sequence


def make_group(directions: Sequence[int]) -> PointGroup:
    rows = [PatternRow("", 1, 1 + direction, "", 0, (), ()) for direction in directions]
    embeddings = np.stack([embedding(direction) for direction in directions])
    return PointGroup(rows, [f"Film {direction}" for direction in directions], embeddings)


def draw_values(patterns: PointGroup, clusters: PointGroup) -> list[list[dict[str, Any]]]:
    """Return the data of each layer of a map."""
    page = draw_patterns(patterns, clusters, "Map", [""], is_html=True).decode()
    found = re.search(r"^\s*const spec = (\{.*\});$", page, re.MULTILINE)
    assert found is not None
    spec = json.loads(found[1])
    layers = [layer.get("data", spec.get("data")) for layer in spec["layer"]]
    return [spec["datasets"][data["name"]] for data in layers]


def test_only_clusters_of_most_patterns_have_a_colour() -> None:
    count = len(MORE_COLOURS) + 1
    patterns = make_group([*range(count), *range(count - 1)])  # the last cluster has one pattern

    dots, diamonds, *_ = draw_values(patterns, make_group(range(count)))

    assert [each["colour"] for each in diamonds] == [*MORE_COLOURS, GREY]
    assert [each["colour"] for each in dots[:count]] == [*MORE_COLOURS, GREY]


def test_a_pattern_without_genres_and_context_says_so() -> None:
    ((dot, *_), *_) = draw_values(make_group([1]), make_group([1]))

    assert (dot["titles"], dot["genres"], dot["context"]) == ("Film 1", "none", "any")


def test_without_clusters_all_patterns_have_one_colour() -> None:
    none = PointGroup([], [], np.zeros((0, 384), np.float32))

    (dots,) = draw_values(make_group([1, 2, 3]), none)

    assert {each["colour"] for each in dots} == {COLOURS[0]}
