"""Unit vectors of stored codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.encoding import unit_scales

if TYPE_CHECKING:
    from constellation.encoding import Codes, Embeddings


def to_vectors(codes: Codes) -> Embeddings:
    """Return unit embeddings; zeros for a row of zeros, whose pattern is about to be removed."""
    scales = unit_scales(codes)
    scales[~np.isfinite(scales)] = 0
    return codes * scales[:, None]
