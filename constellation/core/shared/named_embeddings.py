"""The embedding of what others are shown: the sum over the content items that it names.

It is not the sum over its members. Few members that watched few content items each make a sum that
can be decoded: orthogonal matching pursuit over the catalogue finds content items that only one of
them watched, also in rounded sums, and no bound on linear combinations prevents it. What a pattern
names is known anyway, so a sum over that adds nothing to it. `make attack` has both (crowd). The
clusters of a federation are sums over devices as well, and devices are sent them likewise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.rows import TermKind
from constellation.encoding import DIMENSION, normalise_codes, quantise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.core.rows import PatternRows
    from constellation.core.store import StoreReader
    from constellation.core.table.shard_table import Table
    from constellation.encoding import Codes

_UNIT = 1 << 20
"""Numbers of unit vectors are added up in units of 2**-20, so that every machine gets the same."""


class NamedEmbeddings:
    """Computes embeddings from the catalogue in the store."""

    def __init__(self, store: StoreReader, table: Table) -> None:
        self._store = store
        self._table = table

    async def set_codes(self, rows: PatternRows) -> NDArray[np.bool_]:
        """Set the codes of rows from what they name; return which name anything of the catalogue.

        The codes of the others are zeros: they must not be published.
        """
        numbers = np.unique(rows["contents"])
        numbers = numbers[numbers > 0]
        text = self._table.vocabulary.text
        texts = [text(TermKind.CONTENT, number) for number in numbers.tolist()]
        places = np.searchsorted(numbers, rows["contents"]) + 1
        places[rows["contents"] == 0] = 0
        rows["codes"], named = await self._add_up(texts, places)
        return named

    async def embed(self, named: Sequence[Sequence[str]]) -> tuple[Codes, NDArray[np.bool_]]:
        """Return the codes of lists of content ids, and which have anything of the catalogue.

        The codes of the others are zeros.
        """
        texts = list(dict.fromkeys(text for each in named for text in each))
        place_of = {text: place for place, text in enumerate(texts, 1)}
        places = np.zeros((len(named), max(map(len, named), default=0)), np.int64)
        for row, each in enumerate(named):
            places[row, : len(each)] = [place_of[text] for text in each]
        return await self._add_up(texts, places)

    async def _add_up(
        self, texts: Sequence[str], places: NDArray[np.int64]
    ) -> tuple[Codes, NDArray[np.bool_]]:
        """Return the codes of rows of places among `texts`, from 1 on; 0 stands for none."""
        place_of = {text: place for place, text in enumerate(texts, 1)}
        units = np.zeros((len(texts) + 1, DIMENSION), np.int64)
        for content in await self._store.get_contents(list(texts)):
            codes = np.frombuffer(content.codes, np.int8)[None]
            units[place_of[content.content_id]] = np.rint(normalise_codes(codes)[0] * _UNIT)
        sums = np.zeros((len(places), DIMENSION), np.int64)
        for column in places.T:  # one after another: all at once are much memory
            sums += units[column]
        named: NDArray[np.bool_] = np.asarray(sums.any(axis=1))
        return quantise(sums.astype(np.float32))[0], named
