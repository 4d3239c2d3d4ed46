"""A whole device: time and memory beside the limits that a set-top box sets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.device_process import REWARDS, SEED
from benchmarks.report import Measurement, compare
from constellation.encoding import DIMENSION, ID_BYTES
from constellation_settop import Brain, Catalogue, Outbox, Pattern, View
from constellation_settop.device import CATALOGUE_NAME, FILE_NAME
from constellation_settop.values import (
    Cluster,
    GlobalState,
    PopularContents,
    RelatedRow,
    SimilarPattern,
    Subject,
    Trend,
    Version,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_THEMES: Final = 200
_VIEWS: Final = 500


def measure() -> list[Measurement]:
    """Measure devices of 500 views, with all sources, on catalogues of three sizes."""
    return [
        *_measure_device(10_000, recommend_ms=5.0, peak_mib=80.0),
        *_measure_device(17_000, recommend_ms=5.0, peak_mib=80.0),
        *_measure_device(100_000, recommend_ms=15.0, peak_mib=150.0),
    ]


def _measure_device(size: int, recommend_ms: float, peak_mib: float) -> list[Measurement]:
    with TemporaryDirectory(prefix="recommending-") as folder:
        _write_device(Path(folder), size)
        printed = subprocess.check_output(
            [sys.executable, "-m", "benchmarks.device_process", folder],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
    figures, name = json.loads(printed), f"{size // 1000}k"
    return [
        compare(f"recommend_p99_{name}", figures["recommend_p99_ms"], "ms", "limit", recommend_ms),
        compare(f"observe_p99_{name}", figures["observe_p99_ms"], "ms", "limit", 5.0),
        compare(f"device_open_{name}", figures["open_ms"], "ms", "limit", 300.0),
        compare(f"first_recommend_{name}", figures["first_recommend_ms"], "ms", "limit", 1000.0),
        compare(f"device_idle_{name}", figures["idle_memory_mib"], "MiB", "limit", 60.0),
        compare(f"device_peak_{name}", figures["peak_memory_mib"], "MiB", "limit", peak_mib),
    ]


def _write_device(data_dir: Path, size: int) -> None:
    """Write the files of a device that has everything: views, patterns and all sources."""
    random = np.random.default_rng(SEED)
    catalogue = _write_catalogue(size, data_dir / CATALOGUE_NAME)
    brain = Brain(catalogue)
    for _ in range(_VIEWS):
        content_id = catalogue.content_ids[int(random.integers(size))]
        brain.observe(View(content_id, float(random.choice(REWARDS)), watched_at=1e9))
    state = _make_global_state(brain, random)
    with Outbox.open(data_dir / FILE_NAME) as outbox:
        outbox.append(brain.take_changes())
        outbox.save_global_state(replace(state, version=Version(1, 1)))


def _write_catalogue(size: int, path: Path) -> Catalogue:
    random = np.random.default_rng(SEED)
    themes = random.standard_normal((_THEMES, DIMENSION), np.float32)
    noise = random.standard_normal((size, DIMENSION), np.float32)
    embeddings = themes[random.integers(0, _THEMES, size)] + np.float32(0.7) * noise
    ids = [f"content-{number:06}" for number in range(size)]
    genres = [("drama", "war") if number % 3 else ("comedy",) for number in range(size)]
    Catalogue(ids, embeddings, titles=ids, genres=genres).write(path)
    return Catalogue.read(path)


def _make_global_state(brain: Brain, random: np.random.Generator) -> GlobalState:
    """Return as much as a shard sends: related rows, similar patterns, clusters, trends, lists."""
    catalogue = brain.catalogue

    def choose(count: int) -> tuple[str, ...]:
        rows: NDArray[np.int64] = random.choice(len(catalogue), count, replace=False)
        return tuple(catalogue.content_ids[int(row)] for row in rows)

    def choose_related(content_id: str) -> tuple[str, ...]:
        return tuple(each for each in choose(65) if each != content_id)[:64]

    def make_pattern(number: int) -> Pattern:
        return Pattern(
            number.to_bytes(16, "little"),
            catalogue.embedding(number),
            0.9,
            5,
            content_ids=choose(16),
        )

    liked = [each.content_id for each in brain.history.entries if each.opinion > 0][-512:]
    related = {
        sha256(content_id.encode()).digest()[:ID_BYTES]: RelatedRow(
            content_id,
            choose_related(content_id),
            random.integers(1, 128, 64, np.int8).tobytes(),
            9,
        )
        for content_id in liked
    }
    patterns = [make_pattern(number) for number in range(256)]
    trends = [Trend(Subject(content_id), 1.0 + at) for at, content_id in enumerate(choose(200))]
    households = tuple(range(400, 200, -1))
    return GlobalState(
        similar={each.pattern_id: SimilarPattern(each, 0.8) for each in patterns[:100]},
        trends={trend.subject: trend for trend in trends},
        clusters={each.pattern_id: Cluster(each, 50) for each in patterns},
        related=related,
        popular={
            bytes(16): PopularContents("", choose(200), households),
            bytes([1] * 16): PopularContents("north", choose(200), households),
        },
    )
