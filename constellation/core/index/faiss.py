"""FAISS, configured for searches in Python threads. No other module imports it directly.

This import has a side effect, because OpenBLAS and OpenMP read the environment once, when they are
loaded.
"""

from __future__ import annotations

import os

from constellation.blas import choose_openblas_kernel
from constellation.encoding import DIMENSION

__all__ = ["faiss"]

choose_openblas_kernel()
# omp_set_num_threads affects only the calling thread, and searches run in many threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import faiss  # noqa: E402 - its environment must be set first

faiss.cvar.distance_compute_blas_threshold = DIMENSION * 4  # BLAS from 4 queries on, not from 334
faiss.omp_set_num_threads(1)
