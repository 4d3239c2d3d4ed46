"""The embedding of a shared pattern: the sum over the content items that it names.

It is not the sum over its members. Few members that watched few content items each make a sum that
can be decoded: orthogonal matching pursuit over the catalogue finds content items that only one of
them watched, also in rounded sums, and no bound on linear combinations prevents it. What a pattern
names is known anyway, so a sum over that adds nothing to it. `make attack` has both (crowd).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import TermKind
from constellation.encoding import DIMENSION, normalise_codes, quantise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from constellation.core.rows import PatternRows
    from constellation.core.store import PatternStore
    from constellation.core.table.shard_table import Table
    from constellation.encoding import Codes

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
        numbers, columns = np.unique(rows["contents"], return_inverse=True)
        text = self._table.vocabulary.text
        places = {
            text(TermKind.CONTENT, number): place
            for place, number in enumerate(numbers.tolist())
            if number
        }
        contents = await self._store.get_contents(list(places))
        found = np.array([places[each.content_id] for each in contents], np.int64)
        codes = np.frombuffer(b"".join([each.codes for each in contents]), np.int8)
        return await asyncio.to_thread(
            _set_codes, rows, columns.reshape(rows["contents"].shape), found, codes
        )


def _set_codes(
    rows: PatternRows, columns: NDArray[np.int64], found: NDArray[np.int64], codes: Codes
) -> NDArray[np.bool_]:
    """Set the codes of rows from the codes of the content items at the places `found`.

    `columns` has the places that each row names; what was not found adds nothing.
    """
    units = np.zeros((int(columns.max(initial=0)) + 1, DIMENSION), np.int64)
    if len(found):
        units[found] = np.rint(normalise_codes(codes.reshape(-1, DIMENSION)) * _UNIT)
    sums = np.zeros((len(rows), DIMENSION), np.int64)
    for column in columns.T:
        sums += units[column]
    rows["codes"] = quantise(sums.astype(np.float32))[0]
    return np.asarray(sums.any(axis=1))
