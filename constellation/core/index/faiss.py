"""FAISS, configured for searches that run in Python threads; the only ``import faiss``.

An import with a side effect, because OpenBLAS and OpenMP read the environment once, when loaded.
"""

from __future__ import annotations

import os

from constellation.blas import choose_openblas_kernel
from constellation.encoding import DIMENSION

__all__ = ["faiss"]

choose_openblas_kernel()
# omp_set_num_threads holds for the calling thread only, and searches run in many.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import faiss  # noqa: E402 - after its environment

faiss.cvar.distance_compute_blas_threshold = DIMENSION * 4  # BLAS from 4 queries on, not from 334
faiss.omp_set_num_threads(1)
