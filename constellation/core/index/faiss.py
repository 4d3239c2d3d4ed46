"""FAISS and BLAS, set up before and after they are imported; the only ``import faiss``.

An import with a side effect, because OpenBLAS and OpenMP read the environment once, when loaded.
"""

from __future__ import annotations

import os
from pathlib import Path

from constellation.encoding import DIMENSION

__all__ = ["faiss"]


def _best_kernel(cpu: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return OpenBLAS's name for what this CPU can do; None leaves the choice to OpenBLAS."""
    flags = set(cpu.read_text().split()) if cpu.exists() else set()
    if "avx512f" in flags:
        return "SKYLAKEX"
    return "HASWELL" if "avx2" in flags else None


# The wheel's OpenBLAS takes modern CPUs for SSE3 ones: four to eight times slower.
if kernel := _best_kernel():
    os.environ.setdefault("OPENBLAS_CORETYPE", kernel)
# Searches run in Python threads, and omp_set_num_threads holds for the calling thread only.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import faiss  # noqa: E402 - after its environment
from threadpoolctl import threadpool_limits  # noqa: E402 - after what it limits

# numpy brings an OpenBLAS of its own. Two of its threads take twice as long as one for the products
# here, because searches and streams want the other core.
threadpool_limits(1, user_api="blas")

faiss.cvar.distance_compute_blas_threshold = DIMENSION * 4  # BLAS from 4 queries on, not from 334
faiss.omp_set_num_threads(1)
