"""The privacy budget of one week: how much there is, and how it is divided among mechanisms.

Privacy is counted in zCDP (Bun and Steinke, TCC 2016), whose parameter rho adds up over releases.
Here rho is a whole number of units, so that sums are exact and no rounding spends anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from constellation.federated.contribution import ContributionBounds
    from constellation.federated.fixed_point import Integers

RHO_ONE: Final = 2**40
"""Units in a rho of 1."""
HOURS_PER_WEEK: Final = 168
_SCALE_STEPS: Final = 64
"""Standard deviations are multiples of 1 / 64, which a float holds exactly."""


class Mechanism(StrEnum):
    """One kind of release, with a share of the budget of its own."""

    LIKES = "likes"
    """How many devices like each content item: popular content, and the dictionary."""
    PAIRS = "pairs"
    """How many devices like both content items of each pair of the dictionary."""
    HOURS = "hours"
    """How many devices watched each content item in one hour: trends."""


SHARES: Final[Mapping[Mechanism, float]] = {
    Mechanism.LIKES: 0.1,
    Mechanism.PAIRS: 0.7,
    Mechanism.HOURS: 0.2,
}
"""The part of a week's budget that each mechanism may spend; chosen by `make quality
CASE=privacy`."""
RELEASES_PER_WEEK: Final[Mapping[Mechanism, int]] = {
    Mechanism.LIKES: 1,
    Mechanism.PAIRS: 1,
    Mechanism.HOURS: HOURS_PER_WEEK,
}


class NoiseSource(Protocol):
    """Adds noise and counts privacy; `federation.privacy.gaussian` in production."""

    def add_noise(self, values: Integers, scale: float) -> Integers: ...

    def compute_epsilon(self, rho: float, delta: float) -> float: ...

    def compute_rho(self, epsilon: float, delta: float) -> float: ...


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent on one device in one week."""

    epsilon: float
    delta: float
    """Half of it is for the conversion from zCDP, half for the thresholds of names."""
    units: int
    """The rho that may be spent, in units of 1 / RHO_ONE."""

    def get_units(self, mechanism: Mechanism) -> int:
        """Return what one release of a mechanism spends."""
        share = int(self.units * SHARES[mechanism])
        return share // RELEASES_PER_WEEK[mechanism]

    def compute_scale(self, mechanism: Mechanism, bounds: ContributionBounds) -> float:
        """Return the standard deviation of the noise with which one release spends exactly that."""
        norm_squared = get_norm_squared(mechanism, bounds)
        exact = math.sqrt(norm_squared * RHO_ONE / (2 * self.get_units(mechanism)))
        return max(math.ceil(exact * _SCALE_STEPS), 1) / _SCALE_STEPS

    def compute_threshold(self, mechanism: Mechanism, bounds: ContributionBounds) -> int:
        """Return the least noised count with which a name may be published.

        A name that only one device sent has a count of 1. It is published with a probability of at
        most this release's part of delta. The tail of the discrete Gaussian at x is at most that of
        the continuous one at x - 1 (Canonne, Kamath and Steinke, proposition 25).
        """
        names = {
            Mechanism.LIKES: bounds.liked_contents,
            Mechanism.HOURS: bounds.signals_per_hour,
        }[mechanism]
        releases = 1 + HOURS_PER_WEEK  # of the mechanisms that publish names, together
        tail = self.delta / 2 / releases / names
        scale = self.compute_scale(mechanism, bounds)
        return 2 + math.ceil(scale * -NormalDist().inv_cdf(tail))


def make_budget(epsilon: float, delta: float, noise: NoiseSource) -> Budget:
    """Return the budget of a week: its releases together are (epsilon, delta)-private."""
    return Budget(epsilon, delta, int(noise.compute_rho(epsilon, delta / 2) * RHO_ONE))


def get_norm_squared(mechanism: Mechanism, bounds: ContributionBounds) -> int:
    """Return the squared norm of what one device adds to one release."""
    return {
        Mechanism.LIKES: bounds.likes_norm_squared,
        Mechanism.PAIRS: bounds.pairs_norm_squared,
        Mechanism.HOURS: bounds.hour_norm_squared,
    }[mechanism]
