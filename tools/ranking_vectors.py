"""Make the test vectors of docs/ranking.md: `python -m tools.ranking_vectors`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from constellation.encoding import DIMENSION
from constellation_settop import Catalogue, Context, DayType, Pattern, RankingWeights, TimeOfDay
from constellation_settop.recommending.history import History
from constellation_settop.recommending.ranking import Ranker
from constellation_settop.values import (
    Cluster,
    GlobalState,
    HistoryEntry,
    PopularContents,
    RelatedRow,
    SimilarPattern,
    Subject,
    Trend,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE: Final = Path("tests/clients/recommending/ranking-vectors.json")
_CONTENTS: Final = 24
_LIMIT: Final = 8
_CONTEXT: Final = Context(TimeOfDay.EVENING, DayType.WEEKDAY)


def make_vectors() -> dict[str, Any]:
    """Return the inputs and the results of one ranking; the same ones at each call."""
    random = np.random.default_rng(13)
    embeddings = random.integers(-90, 91, (_CONTENTS, DIMENSION)).astype(np.float32)
    embeddings[1::4] = embeddings[::4] + random.integers(-30, 31, (6, DIMENSION))  # sequels
    embeddings[2::4] = embeddings[::4] + random.integers(-30, 31, (6, DIMENSION))
    ids = [f"content-{number:02}" for number in range(_CONTENTS)]
    genres = [("drama",) if number % 3 else ("war", "drama") for number in range(_CONTENTS)]
    catalogue = Catalogue(ids, embeddings, titles=ids, genres=genres)
    patterns = _make_patterns(random, embeddings)
    history = [
        HistoryEntry(ids[number], opinion, 1)
        for number, opinion in ((3, 64), (7, -16), (9, 33), (0, 0), (11, 50))
    ]
    state = _make_state(random, embeddings, ids)
    ranker = Ranker(catalogue, RankingWeights())
    ranker.use_global_state(lambda: state)
    ranker.use_taste(patterns, History(history))
    ranker.exclude(["content-03", "content-09"])
    return {
        "catalogue": _describe_catalogue(catalogue),
        "patterns": [_describe_pattern(each) for each in patterns],
        "history": [[each.content_id, each.opinion] for each in history],
        "related": [
            [
                row.content_id,
                row.neighbours,
                np.frombuffer(row.weights, np.int8).tolist(),
                row.shift,
            ]
            for row in state.related.values()
        ],
        "popular": [[each.content_ids, each.households] for each in state.popular.values()],
        "similar": [
            [each.similarity, each.pattern.success_rate, each.pattern.content_ids]
            for each in state.similar.values()
        ],
        "clusters": [
            {**_describe_pattern(each.pattern), "devices": each.devices}
            for each in state.clusters.values()
        ],
        "trends": [
            [each.subject.name, each.subject.is_genre, each.score] for each in state.trends.values()
        ],
        "context": [_CONTEXT.time_of_day, _CONTEXT.day_type],
        "excluded": ["content-03", "content-09"],
        "limit": _LIMIT,
        "weighted_scores": ranker.compute_scores(_CONTEXT).sources.tolist(),
        "list": [[each.content_id, each.reason] for each in ranker.rank(_CONTEXT, _LIMIT)],
    }


def _make_patterns(random: np.random.Generator, embeddings: NDArray[Any]) -> list[Pattern]:
    return [
        Pattern(
            bytes([number] * 16),
            _normalise(embeddings[row] + random.integers(-60, 61, DIMENSION)),
            success_rate,
            sample_count,
            time_of_day,
            DayType.WEEKDAY,
            content_ids=(f"content-{row:02}",),
        )
        for number, (row, success_rate, sample_count, time_of_day) in enumerate(
            (
                (4, 0.9, 7, TimeOfDay.EVENING),
                (12, 0.71, 300, TimeOfDay.NIGHT),
                (20, 1.0, 2, TimeOfDay.ANY),
            )
        )
    ]


def _make_state(
    random: np.random.Generator, embeddings: NDArray[Any], ids: list[str]
) -> GlobalState:
    def choose(count: int) -> tuple[str, ...]:
        return tuple(ids[int(each)] for each in random.choice(_CONTENTS, count, replace=False))

    rows = {}
    for number, shift in ((3, 9), (7, 7), (9, 20), (15, 8)):
        weights = np.array([90, 64, 31, -25, 7], np.int8)
        neighbours = (*tuple(each for each in choose(6) if each != ids[number])[:4], "gone")
        rows[bytes([number] * 16)] = RelatedRow(ids[number], neighbours, weights.tobytes(), shift)
    similar = {
        bytes([number] * 16): SimilarPattern(
            Pattern(bytes([number] * 16), _normalise(embeddings[0]), 0.8, 3, content_ids=choose(5)),
            0.3 + number / 10,
        )
        for number in range(4)
    }
    clusters = {
        bytes([number] * 16): Cluster(
            Pattern(
                bytes([number] * 16),
                _normalise(embeddings[number] + random.integers(-60, 61, DIMENSION)),
                0.75,
                60,
                genres=("war",),
                content_ids=choose(4),
            ),
            60 * (number + 1),
        )
        for number in (4, 13)
    }
    trends = [
        Trend(Subject(ids[5]), 3.25),
        Trend(Subject(ids[6]), 1.5),
        Trend(Subject("war", is_genre=True), 2.0),
    ]
    popular = {
        b"a" * 16: PopularContents("", tuple(ids[2:8]), (90, 70, 60, 40, 20, 10)),
        b"b" * 16: PopularContents("north", ("gone", ids[7], ids[2]), (50, 30, 10)),
    }
    return GlobalState(
        similar=similar,
        trends={each.subject: each for each in trends},
        clusters=clusters,
        related=rows,
        popular=popular,
    )


def _normalise(vector: NDArray[Any]) -> NDArray[Any]:
    wide = vector.astype(np.float64)  # so that every machine rounds to the same float32
    unit: NDArray[np.float32] = (wide / np.sqrt((wide**2).sum())).astype(np.float32)
    return unit


def _to_hex(array: NDArray[Any]) -> str:
    return array.tobytes().hex()


def _describe_catalogue(catalogue: Catalogue) -> dict[str, Any]:
    """Return the columns that ranking reads; arrays as hex, little-endian, row by row."""
    columns = catalogue.columns
    return {
        "content_ids": list(catalogue.content_ids),
        "genres": [list(catalogue.genres(row)) for row in range(len(catalogue))],
        "codes": _to_hex(columns.codes),
        "unit_scales": _to_hex(columns.unit_scales),
        "deviation_scales": _to_hex(columns.deviation_scales),
        "mean_codes": _to_hex(columns.mean_codes),
        "mean_scale": _to_hex(columns.mean_scale),
    }


def _describe_pattern(pattern: Pattern) -> dict[str, Any]:
    return {
        "embedding": _to_hex(pattern.embedding),
        "success_rate": pattern.success_rate,
        "sample_count": pattern.sample_count,
        "time_of_day": pattern.time_of_day,
        "day_type": pattern.day_type,
        "content_ids": pattern.content_ids,
    }


def format_vectors(vectors: dict[str, Any]) -> str:
    """Return vectors as JSON, one input or result a line."""
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in vectors.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(format_vectors(make_vectors()))
