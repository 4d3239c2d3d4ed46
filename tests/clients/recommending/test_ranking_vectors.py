"""The test vectors of docs/ranking.md, and a second implementation that was written from it.

It uses no code of the SDK: plain integers, and numpy's float32 where the page says float32.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from tools.ranking_vectors import FILE, format_vectors, make_vectors

PEAK = 32767
WEIGHTS = (1.0, 0.4, 0.5, 0.03, 0.03, 3.0)
F32 = np.float32

VECTORS: dict[str, Any] = json.loads(FILE.read_text())
IDS: list[str] = VECTORS["catalogue"]["content_ids"]


def read_codes(name: str) -> list[list[int]]:
    numbers = np.frombuffer(bytes.fromhex(VECTORS["catalogue"][name]), np.int8)
    rows: list[list[int]] = numbers.reshape(-1, 384).tolist()
    return rows


def read_floats(text: str) -> list[Any]:
    return list(np.frombuffer(bytes.fromhex(text), "<f4"))


CODES, MEAN = read_codes("codes"), read_codes("mean_codes")[0]
UNITS = read_floats(VECTORS["catalogue"]["unit_scales"])
DEVIATIONS = read_floats(VECTORS["catalogue"]["deviation_scales"])
(MEAN_SCALE,) = read_floats(VECTORS["catalogue"]["mean_scale"])


def dot(one: list[int], other: list[int]) -> int:
    return sum(a * b for a, b in zip(one, other, strict=True))


def scale_to_peak(sums: list[int]) -> list[int]:
    peak = max(sums, default=0)
    if peak <= 0:
        return [0] * len(sums)
    shift = max(0, peak.bit_length() - 47)
    top = peak >> shift
    return [max(each >> shift, -top) * PEAK // top for each in sums]


def to_direction(embedding: str) -> tuple[list[int], Any]:
    x = [e - F32(m) * MEAN_SCALE for e, m in zip(read_floats(embedding), MEAN, strict=True)]
    scale = F32(max(abs(each) for each in x)) / F32(127)
    codes = [int(np.rint(each / scale)) for each in x]
    return codes, F32(1.0 / math.sqrt(dot(codes, codes)))


def to_integer(cosine: Any) -> int:
    return int(np.rint(min(max(cosine, F32(0)), F32(1)) * F32(32767)))


def to_strength(rate: float, count: int) -> int:
    return round(4096 * rate) * round(256 * math.log2(1 + min(count, 255)))


def score_related() -> list[int]:
    evidence, newer = {}, 0
    for content_id, opinion in reversed(VECTORS["history"]):
        evidence[content_id] = opinion * round(4096 * 2 ** (-newer / 30))
        newer += opinion > 0
    sums = dict.fromkeys(IDS, 0)
    for content_id, neighbours, weights, shift in VECTORS["related"]:
        for neighbour, weight in zip(neighbours, weights, strict=True):
            if neighbour in sums:
                product = evidence.get(content_id, 0) * weight
                sums[neighbour] += (product << max(16 - shift, 0)) >> max(shift - 16, 0)
    return scale_to_peak(list(sums.values()))


def select_patterns() -> tuple[list[tuple[list[int], Any]], list[int]]:
    strengths = []
    for pattern in VECTORS["patterns"]:
        strength = to_strength(pattern["success_rate"], pattern["sample_count"])
        for known, wanted in zip(
            (pattern["time_of_day"], pattern["day_type"]), VECTORS["context"], strict=True
        ):
            if known and wanted and known != wanted:
                strength = strength * 7 // 10
        strengths.append(strength)
    order = sorted(range(len(strengths)), key=lambda each: -strengths[each])[:16]
    directions = [to_direction(VECTORS["patterns"][each]["embedding"]) for each in order]
    return directions, scale_to_peak([strengths[each] for each in order])


DIRECTIONS, PATTERN_WEIGHTS = select_patterns()


def score_own() -> list[int]:
    sums = []
    for codes, unit, deviation in zip(CODES, UNITS, DEVIATIONS, strict=True):
        best = 0
        for (direction, scale), weight in zip(DIRECTIONS, PATTERN_WEIGHTS, strict=True):
            mean = F32(dot(MEAN, direction)) * MEAN_SCALE
            cosine = (F32(dot(codes, direction)) * unit - mean) * scale * deviation
            best = max(best, to_integer(cosine) * weight)
        sums.append(best)
    return scale_to_peak(sums)


def add_up(entries: list[tuple[list[str], int]]) -> list[int]:
    sums = dict.fromkeys(IDS, 0)
    for content_ids, weight in entries:
        for content_id in content_ids:
            if content_id in sums:
                sums[content_id] += weight
    return list(sums.values())


def score_similar() -> list[int]:
    return scale_to_peak(
        add_up(
            [
                (content_ids, round(4096 * (max(0.0, similarity) * min(1.0, rate))))
                for similarity, rate, content_ids in VECTORS["similar"]
            ]
        )
    )


def score_clusters() -> list[int]:
    clusters = VECTORS["clusters"]
    cosines = []
    for cluster in clusters:
        codes, scale = to_direction(cluster["embedding"])
        cosines.append(
            max(to_integer(F32(dot(codes, own)) * scale * other) for own, other in DIRECTIONS)
        )
    if max(cosines) < 6553:
        weights = scale_to_peak([to_strength(c["success_rate"], c["devices"]) for c in clusters])
    else:
        rates = [round(4096 * cluster["success_rate"]) for cluster in clusters]
        weights = [cosine * rate // 4096 for cosine, rate in zip(cosines, rates, strict=True)]
    named = [cluster["content_ids"] for cluster in clusters]
    scores = scale_to_peak(add_up(list(zip(named, weights, strict=True))))
    return [score * max(weights) // PEAK for score in scores]


def score_trends() -> list[int]:
    sums, genre_sums = dict.fromkeys(IDS, 0), dict.fromkeys(IDS, 0)
    for name, is_genre, score in VECTORS["trends"]:
        value = round(4096 * min(max(score, 0), 10**6))
        if not is_genre:
            sums[name] = value
            continue
        for content_id, genres in zip(IDS, VECTORS["catalogue"]["genres"], strict=True):
            genre_sums[content_id] += value * (name in genres)
    genre_scores = scale_to_peak(list(genre_sums.values()))
    return [
        score + genre_score // 10
        for score, genre_score in zip(scale_to_peak(list(sums.values())), genre_scores, strict=True)
    ]


def score_popular() -> list[int]:
    sums = [0] * len(IDS)
    for content_ids, households in VECTORS["popular"]:
        for content_id, score in zip(content_ids, scale_to_peak(households), strict=True):
            if content_id in IDS:
                sums[IDS.index(content_id)] += score
    return scale_to_peak(sums)


SOURCES = (score_related, score_own, score_similar, score_clusters, score_trends, score_popular)


def apply_weights() -> list[list[int]]:
    liked = sum(opinion > 0 for _, opinion in VECTORS["history"])
    liked_ids = {content_id for content_id, opinion in VECTORS["history"] if opinion > 0}
    rows = sum(content_id in liked_ids for content_id, *_ in VECTORS["related"])
    weights = list(WEIGHTS)
    weights[2] /= max(1, rows)
    weights[3] /= max(1, rows)
    weights[5] /= max(1, liked)
    return [
        [round(1024 * weight) * score for score in source()]
        for weight, source in zip(weights, SOURCES, strict=True)
    ]


def rank() -> list[str]:
    totals = [sum(column) for column in zip(*apply_weights(), strict=True)]
    candidates = [row for row in range(len(IDS)) if IDS[row] not in VECTORS["excluded"]]
    candidates.sort(key=lambda row: (-totals[row], IDS[row].encode()))
    places = min(VECTORS["limit"], 50)
    taken: list[int] = []
    for row in candidates[: 3 * places]:
        alike = sum(
            F32(dot(CODES[row], CODES[other])) * UNITS[row] * UNITS[other] > F32(0.75)
            for other in taken
        )
        if alike < 2 and len(taken) < places:
            taken.append(row)
    rest = [row for row in candidates if row not in taken]
    return [IDS[row] for row in [*taken, *rest][: VECTORS["limit"]]]


def test_the_committed_vectors_are_what_the_sdk_computes() -> None:
    assert format_vectors(make_vectors()) == FILE.read_text(), "run python -m tools.ranking_vectors"


@pytest.mark.parametrize("source", range(len(SOURCES)), ids=lambda each: SOURCES[each].__name__)
def test_each_source_can_be_computed_from_the_document_alone(source: int) -> None:
    expected = VECTORS["weighted_scores"][source]

    assert any(expected)
    assert apply_weights()[source] == expected


def test_the_list_can_be_made_from_the_document_alone() -> None:
    assert rank() == [content_id for content_id, _ in VECTORS["list"]]
    assert len({reason for _, reason in VECTORS["list"]}) > 2  # several sources are at work
