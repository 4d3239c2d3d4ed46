"""The discrete Gaussian mechanism and its accountant: the only `import opendp`.

The noise is exact (Canonne, Kamath and Steinke, "The discrete Gaussian for differential privacy",
NeurIPS 2020): integers, without the leaks of floating point, from the random numbers of the
operating system. Adding it with standard deviation s to integers that one device moves by at most D
(Euclidean norm) is D^2 / (2 s^2)-zCDP, and zCDP of several releases adds up.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import opendp.prelude as dp

if TYPE_CHECKING:
    from constellation.federated.fixed_point import Integers

_BLOCK: Final = 4096
"""Values that get noise at once: 40 ms, after which other threads have a turn."""
_BISECTIONS: Final = 60

dp.enable_features("contrib")  # the library's name for what its committee has vetted in part


def add_noise(values: Integers, scale: float) -> Integers:
    """Return the values, each with its own noise of standard deviation `scale`.

    Takes about 10 microseconds for each value: belongs in a thread.
    """
    mechanism = _make_mechanism(scale)
    noised = np.empty(values.shape, np.int64)
    flat, source = noised.reshape(-1), np.ascontiguousarray(values, np.int64).reshape(-1)
    for start in range(0, len(source), _BLOCK):
        flat[start : start + _BLOCK] = mechanism(source[start : start + _BLOCK])
    return noised


def compute_epsilon(rho: float, delta: float) -> float:
    """Return the smallest epsilon that is known for releases that are rho-zCDP together."""
    if rho <= 0:
        return 0.0
    measurement = dp.c.make_zCDP_to_approxDP(_make_scalar_mechanism())
    return float(measurement.map(math.sqrt(2 * rho)).epsilon(delta))


def compute_rho(epsilon: float, delta: float) -> float:
    """Return the largest rho whose epsilon at `delta` is at most `epsilon`."""
    low, high = 0.0, epsilon  # rho-zCDP never has an epsilon below rho at so small a delta
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if compute_epsilon(middle, delta) <= epsilon:
            low = middle
        else:
            high = middle
    return low


@cache
def _make_scalar_mechanism() -> Any:
    return dp.m.make_gaussian(dp.atom_domain(T=dp.i64), dp.absolute_distance(T=float), scale=1.0)


def _make_mechanism(scale: float) -> Any:
    domain = dp.vector_domain(dp.atom_domain(T=dp.i64))
    return dp.m.make_gaussian(domain, dp.l2_distance(T=float), scale=scale)
