"""Flower, for comparison: installed on demand into build/, never a dependency of this project."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.shard_process import BUILD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERSION: Final = "1.41.0"
_ENVIRONMENT: Final = BUILD / f"flwr-{VERSION}"
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@contextmanager
def start_flwr() -> Iterator[Callable[[], float] | None]:
    """Yield a function that measures one weighted average in seconds, or None without flwr."""
    python = _install()
    if python is None:
        yield None
        return
    with subprocess.Popen(
        [python, "-m", "benchmarks.flwr_worker"],
        env={**os.environ, **_ONE_THREAD},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def measure_seconds() -> float:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        yield measure_seconds


def _install() -> Path | None:
    """Return a Python that has flwr and our version of numpy. Print the reason if there is none."""
    python = _ENVIRONMENT / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    wanted = [f"flwr=={VERSION}", f"numpy=={np.__version__}"]
    try:
        if not python.exists():
            _run(uv, "venv", "--python", sys.executable, _ENVIRONMENT)
        _run(uv, "pip", "install", "--python", python, *wanted)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        print(
            f"flwr {VERSION} is not measured, because its installation failed: {reason}",
            file=sys.stderr,
        )
        return None
    return python


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
