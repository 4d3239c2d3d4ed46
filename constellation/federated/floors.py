"""Floors: how many devices must be behind what others may see.

With these floors, a few accomplices learn nothing about the others. Shards and federations each
have a setting for K; this module has what follows from it for both.
"""

from __future__ import annotations

from typing import Final

K_ANONYMITY: Final = 5
"""The default K: distinct devices that must share a content item."""


def compute_min_members(k_anonymity: int) -> int:
    """Return how many devices withstand K - 1 accomplices: M = 2 K - 1.

    K of them are honest even when K - 1 are accomplices of whoever looks at the result.
    """
    return 2 * k_anonymity - 1
