"""Settings of the BLAS libraries: the kernel of OpenBLAS and the threads of one product."""

from __future__ import annotations

import os
from pathlib import Path

from threadpoolctl import threadpool_limits


def choose_openblas_kernel(cpu: Path = Path("/proc/cpuinfo")) -> None:
    """Set OPENBLAS_CORETYPE to the best kernel for this CPU, unless it is set already.

    OpenBLAS reads the variable once, when it is loaded: call this before the import that loads it.
    The OpenBLAS in the FAISS wheel mistakes modern CPUs for SSE3 ones, and then runs four to eight
    times slower.
    """
    flags = set(cpu.read_text().split()) if cpu.exists() else set()
    if "avx512f" in flags:
        os.environ.setdefault("OPENBLAS_CORETYPE", "SKYLAKEX")
    elif "avx2" in flags:
        os.environ.setdefault("OPENBLAS_CORETYPE", "HASWELL")


def limit_blas_threads() -> None:
    """Limit every BLAS library loaded so far to one thread per product.

    For the products here two threads take twice as long as one, because searches and streams
    compete for the other core.
    """
    threadpool_limits(1, user_api="blas")
