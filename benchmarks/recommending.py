"""Recommending on a device: time and memory beside the limits that a set-top box sets."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.report import Measurement, compare
from constellation.encoding import DIMENSION
from constellation_settop import Brain, Catalogue, Pattern, View
from constellation_settop.values import (
    Cluster,
    GlobalState,
    PopularContents,
    RelatedRow,
    SimilarPattern,
    Subject,
    Trend,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_SEED: Final = 1
_THEMES: Final = 200
_ROUNDS: Final = 200
_LIMIT: Final = 20
_REWARDS: Final = (0.1, 0.6, 0.8, 0.95)
_IDLE: Final = """
import sys
from pathlib import Path
from constellation_settop import Brain, Catalogue
brain = Brain(Catalogue.read(sys.argv[1]))
brain.recommend()
status = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def measure() -> list[Measurement]:
    """Measure households of 500 views, with all sources, on catalogues of two sizes."""
    with TemporaryDirectory(prefix="recommending-") as folder:
        return [
            *_measure_catalogue(17_000, 5.0, Path(folder)),
            *_measure_catalogue(100_000, 15.0, Path(folder)),
            _measure_memory(10_000, 60.0, Path(folder)),
            _measure_memory(100_000, 110.0, Path(folder)),  # 50 of them for Python, numpy and gRPC
        ]


def _measure_catalogue(size: int, limit_ms: float, folder: Path) -> list[Measurement]:
    random = np.random.default_rng(_SEED)
    path = _write_catalogue(size, folder)
    started = time.perf_counter()
    catalogue = Catalogue.read(path)
    open_ms = (time.perf_counter() - started) * 1000
    brain = Brain(catalogue)

    def observe() -> None:
        content_id = catalogue.content_ids[int(random.integers(size))]
        brain.observe(View(content_id, float(random.choice(_REWARDS)), watched_at=1e9))

    for _ in range(500):
        observe()
    state = _make_global_state(brain, random)
    brain.use_global_state(lambda: state)
    brain.recommend()
    observing, recommending = [], []
    for _ in range(_ROUNDS):
        observing.append(_time(observe))
        recommending.append(_time(lambda: brain.recommend(limit=_LIMIT)))
    name = f"{size // 1000}k"
    return [
        compare(f"recommend_p99_{name}", _p99(recommending), "ms", "the limit", limit_ms),
        compare(f"observe_p99_{name}", _p99(observing), "ms", "the limit", 5.0),
        compare(f"open_catalogue_{name}", open_ms, "ms", "the limit", 300.0),
    ]


def _time(work: Callable[[], object]) -> float:
    """Return the milliseconds of this thread: other processes do not count."""
    started = time.thread_time()
    work()
    return (time.thread_time() - started) * 1000


def _p99(times: list[float]) -> float:
    return float(np.quantile(times, 0.99))


def _write_catalogue(size: int, folder: Path) -> Path:
    path = folder / f"{size}.bin"
    if not path.exists():
        random = np.random.default_rng(_SEED)
        themes = random.standard_normal((_THEMES, DIMENSION), np.float32)
        noise = random.standard_normal((size, DIMENSION), np.float32)
        embeddings = themes[random.integers(0, _THEMES, size)] + np.float32(0.7) * noise
        ids = [f"content-{number:06}" for number in range(size)]
        genres = [("drama", "war") if number % 3 else ("comedy",) for number in range(size)]
        Catalogue(ids, embeddings, titles=ids, genres=genres).write(path)
    return path


def _make_global_state(brain: Brain, random: np.random.Generator) -> GlobalState:
    """Return as much as a shard sends: related rows, similar patterns, clusters, trends, lists."""
    catalogue = brain.catalogue

    def choose(count: int) -> tuple[str, ...]:
        rows: NDArray[np.int64] = random.choice(len(catalogue), count, replace=False)
        return tuple(catalogue.content_ids[int(row)] for row in rows)

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
        content_id.encode(): RelatedRow(
            content_id, choose(64), random.integers(1, 128, 64, np.int8).tobytes(), 9
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
            b"a": PopularContents("", choose(200), households),
            b"b": PopularContents("north", choose(200), households),
        },
    )


def _measure_memory(size: int, limit_mib: float, folder: Path) -> Measurement:
    """Measure a process that has imported the SDK, opened a catalogue and recommended once."""
    path = _write_catalogue(size, folder)
    printed = subprocess.check_output([sys.executable, "-c", _IDLE, str(path)])
    name = f"device_memory_{size // 1000}k"
    return compare(name, int(printed) / 1024, "MiB", "the limit", limit_mib)
