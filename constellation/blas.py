"""BLAS for this machine: which kernel OpenBLAS runs, and how many threads a product takes."""

from __future__ import annotations

import os
from pathlib import Path

from threadpoolctl import threadpool_limits


def choose_openblas_kernel(cpu: Path = Path("/proc/cpuinfo")) -> None:
    """Name the best kernel for this CPU in OPENBLAS_CORETYPE, unless it is set already.

    OpenBLAS reads the variable once, when it is loaded: call this before the import that loads it.
    The OpenBLAS of the FAISS wheel takes modern CPUs for SSE3 ones: four to eight times slower.
    """
    flags = set(cpu.read_text().split()) if cpu.exists() else set()
    if "avx512f" in flags:
        os.environ.setdefault("OPENBLAS_CORETYPE", "SKYLAKEX")
    elif "avx2" in flags:
        os.environ.setdefault("OPENBLAS_CORETYPE", "HASWELL")


def limit_blas_threads() -> None:
    """Let every BLAS that is loaded so far use one thread for a product.

    Two threads take twice as long as one for the products here, because searches and streams want
    the other core.
    """
    threadpool_limits(1, user_api="blas")
