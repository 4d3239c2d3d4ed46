"""Opens the differentially private mode, whose library is an extra."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from constellation.errors import ConfigError
from federation.privacy.budget import make_budget
from federation.privacy.mode import PrivacyMode

if TYPE_CHECKING:
    from federation.privacy.budget import NoiseSource


def open_privacy(epsilon: float, delta: float) -> PrivacyMode | None:
    """Return the mode for a weekly budget; None for an epsilon of 0: no noise.

    Raises ConfigError if the library is missing.
    """
    if not epsilon:
        return None
    noise = _load_noise()
    return PrivacyMode(make_budget(epsilon, delta, noise), noise)


def _load_noise() -> NoiseSource:
    try:
        # By name: a federation without this mode must start without the library.
        noise: NoiseSource = import_module("federation.privacy.gaussian")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"PRIVACY_EPSILON needs the package {error.name}: install constellation-tv[privacy], "
            "for example with `pip install 'constellation-tv[server,privacy]'`"
        ) from error
    return noise
