"""The embedding of a shared pattern: the sum over the content items that it names.

It is not the sum over its members. Few members that watched few content items each make a sum that
can be decoded: orthogonal matching pursuit over the catalogue finds content items that only one of
them watched, also in rounded sums, and no bound on linear combinations prevents it. What a pattern
names is known anyway, so a sum over that adds nothing to it. `make attack` has both (crowd).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import TermKind
from constellation.encoding import DIMENSION, normalise_codes, quantise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rows import PatternRows
    from constellation.core.store import PatternStore
    from constellation.core.table.shard_table import Table

_UNIT = 1 << 20
"""Numbers of unit vectors are added up in units of 2**-20, so that every machine gets the same."""


class NamedEmbeddings:
    """Computes embeddings from the catalogue in the store."""

    def __init__(self, store: PatternStore, table: Table) -> None:
        self._store = store
        self._table = table

    async def set_codes(self, rows: PatternRows) -> NDArray[np.bool_]:
        """Set the codes of rows from what they name; return which name anything of the catalogue.

        The codes of the others are zeros: they must not be published.
        """
        numbers = np.unique(rows["contents"])
        numbers = numbers[numbers > 0]
        text = self._table.vocabulary.text
        texts = {text(TermKind.CONTENT, number): number for number in numbers.tolist()}
        units = np.zeros((int(numbers.max(initial=0)) + 1, DIMENSION), np.int64)
        for content in await self._store.get_contents(list(texts)):
            codes = np.frombuffer(content.codes, np.int8)[None]
            units[texts[content.content_id]] = np.rint(normalise_codes(codes)[0] * _UNIT)
        sums = units[rows["contents"]].sum(axis=1)
        rows["codes"] = quantise(sums.astype(np.float32))[0]
        named: NDArray[np.bool_] = sums.any(axis=1)
        return named
