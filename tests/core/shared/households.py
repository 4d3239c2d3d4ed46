"""Devices with nearly the same taste, as deltas of the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from constellation.core.table.groups import STALE
from tests.deltas import embedding

if TYPE_CHECKING:
    from constellation.core.index.similar import SimilarPatterns
    from constellation.core.shard import ShardManager

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from constellation.core.rules import Rules
from constellation.core.table.origins import DeviceOrigin
from constellation.encoding import Encoding, encode
from tests.deltas import PatternSpec, make_delta
from tests.sharing import add_to_catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.ingest.deltas import Delta
    from constellation.core.shard import ShardManager

RULES = Rules(max_devices=400, max_patterns=2000, k_anonymity=2)
"""Groups of at least three members."""
NOW = 1_800_000_000.0


@dataclass
class Households:
    """Sends patterns of devices to a shard; each revision of a pattern turns it a little."""

    manager: ShardManager
    seqs: dict[int, int] = field(default_factory=dict)
    revisions: int = 0
    catalogue: set[str] = field(default_factory=set)
    """The content items of the shard's catalogue."""
    lots: dict[int, int] = field(default_factory=dict)
    """The lots of devices, from 1 on; the lot of the others is unknown."""

    async def upsert(
        self,
        device: int,
        direction: int = 0,
        contents: Sequence[str] = ("film",),
        number: int = 1,
        success_rate: float = 0.9,
    ) -> None:
        """Send one pattern, near the direction, as no other is.

        What it names is in the catalogue from the first time on, with the embedding of the
        direction of that time.
        """
        self.revisions += 1
        await self._add_to_catalogue(direction, contents)
        spec = PatternSpec(number, direction, success_rate, contents=tuple(contents))
        delta = self._make(device, upserts=[spec])
        near = embedding(direction) + 0.2 * embedding(10_000 + self.revisions)
        unit = (near / np.linalg.norm(near)).astype(np.float32)[None]
        assert delta.upserts is not None
        columns = replace(delta.upserts, embeddings=encode(unit, Encoding.INT8))
        await self.manager.apply(replace(delta, upserts=columns))

    async def remove(self, device: int, number: int = 1) -> None:
        await self.manager.apply(self._make(device, removed=[number]))

    async def run_epoch(self) -> None:
        await self.manager.share_patterns(NOW)

    async def _add_to_catalogue(self, direction: int, contents: Sequence[str]) -> None:
        new = dict.fromkeys((each for each in contents if each not in self.catalogue), direction)
        self.catalogue.update(new)
        if new:
            await add_to_catalogue(self.manager, new)

    def _make(
        self, device: int, upserts: Sequence[PatternSpec] = (), removed: Sequence[int] = ()
    ) -> Delta:
        seq = self.seqs[device] = self.seqs.get(device, 0) + 1
        delta = make_delta(device, seq, upserts, removed)
        return replace(delta, origin=DeviceOrigin(lot=self.lots.get(device, 0)))


async def search(manager: ShardManager) -> SimilarPatterns:
    return await manager.similar.search(embedding(0)[None], 10)


def count_stale(manager: ShardManager) -> int:
    return int(np.count_nonzero(manager.table.groups.owners == STALE))
