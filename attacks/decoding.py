"""Decoding: which films are behind an embedding, when the catalogue is known.

A household's pattern is the sum of the embeddings of its films, and few of 17,000 directions add up
to one vector of 384 numbers in only one way. Orthogonal matching pursuit (Pati, Rezaiifar and
Krishnaprasad 1993) finds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.encoding import Embeddings
    from constellation_settop.values import Embedding

CANDIDATES: Final = 2000
"""Films nearest to an embedding that are tried. Those behind it are among them."""
MAX_FILMS: Final = 40
SOLVED_RESIDUAL: Final = 0.03
"""Share of an embedding's length that INT8 explains: what is left then is rounding."""
_SHORTEST: Final = 1e-3
_LEAST_PART: Final = 0.04


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The films that explain an embedding best, those with the largest part first."""

    rows: NDArray[np.int64]
    """Rows of the catalogue, shape (n,)."""
    parts: NDArray[np.floating]
    """The part of each, shape (n,)."""
    residual: float
    """Length of what they do not explain, where the embedding has length 1."""

    @property
    def is_exact(self) -> bool:
        """Whether the films explain the embedding up to rounding."""
        return self.residual <= SOLVED_RESIDUAL


class Decoder:
    """Knows the catalogue, as everybody does, and decodes embeddings with it."""

    def __init__(self, catalogue: Embeddings) -> None:
        self._catalogue = catalogue
        self._known: dict[bytes, Decoded] = {}
        """By embedding: many devices are sent the same one."""

    def decode(self, embedding: Embedding) -> Decoded:
        """Return the fewest films that explain an embedding, by matching pursuit."""
        key = embedding.tobytes()
        if key not in self._known:
            self._known[key] = self._decode(embedding)
        return self._known[key]

    def explain_change(self, before: Embedding, after: Embedding) -> Decoded:
        """Return the one film that, added to the embedding before, explains the one after best."""
        rest = after - (after @ before) * before
        cosines = self._catalogue @ before
        lengths = np.sqrt(np.maximum(1 - cosines**2, _SHORTEST))
        aligned = (self._catalogue @ rest - cosines * float(before @ rest)) / lengths
        best = int(aligned.argmax())
        residual = float(np.sqrt(max(0.0, float(rest @ rest) - float(aligned[best]) ** 2)))
        return Decoded(np.array([best]), np.array([aligned[best]]), residual)

    def _decode(self, embedding: Embedding) -> Decoded:
        near = np.argsort(-(self._catalogue @ embedding), kind="stable")[:CANDIDATES]
        directions = self._catalogue[near].astype(np.float64)
        target = embedding.astype(np.float64)
        chosen: list[int] = []
        parts: NDArray[np.floating] = np.empty(0)
        rest: NDArray[np.floating] = target
        while len(chosen) < MAX_FILMS and np.linalg.norm(rest) > SOLVED_RESIDUAL:
            best = int((directions @ rest).argmax())
            if best in chosen:
                break
            chosen.append(best)
            parts = np.linalg.lstsq(directions[chosen].T, target, rcond=None)[0]
            rest = target - directions[chosen].T @ parts
        kept = [row for row, part in zip(chosen, parts, strict=True) if part > _LEAST_PART]
        if len(kept) < len(chosen):  # what was a detour on the way is not behind it
            refit = np.linalg.lstsq(directions[kept].T, target, rcond=None)[0]
            left = target - directions[kept].T @ refit
            if np.linalg.norm(left) <= SOLVED_RESIDUAL:
                chosen, parts, rest = kept, refit, left
        order = np.argsort(-parts, kind="stable")
        return Decoded(
            near[np.array(chosen, np.int64)[order]], parts[order], float(np.linalg.norm(rest))
        )
