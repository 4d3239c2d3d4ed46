"""Shards as a federation knows them, after updates that went over the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from constellation.transport.codec.aggregates import from_aggregate_update
from constellation.v1 import aggregates_pb2 as pb
from federation.merge.aggregates import (
    ShardAggregate,
    ShardUpdate,
    Source,
    join_update,
    merge_aggregates,
    renumber_terms,
)
from federation.merge.terms import Terms
from federation.shards.assembly import Assembly
from tests.federation.aggregates import make_cluster_rows, make_update

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.federated.aggregate import AggregateUpdate

HOUR = 500_000


class JoinedShards:
    """What a federation knows of some shards after updates in some order."""

    def __init__(self) -> None:
        self.terms = Terms.empty()
        self.shards: dict[int, ShardAggregate] = {}

    def apply_update(self, update: AggregateUpdate) -> None:
        """Send an update over the wire and join it."""
        for received in self.assemble(list(from_aggregate_update(update))):
            self.join(received)

    def join(self, update: ShardUpdate) -> None:
        known = self.shards.get(update.version.shard_id)
        self.shards[update.version.shard_id] = join_update(known, update, Source(1.0, "a:1"))

    def assemble(self, chunks: Sequence[pb.PullAggregateResponse]) -> list[ShardUpdate]:
        """Return the updates that these chunks make up after they were sent over the wire."""
        assembly = Assembly(HOUR)
        for chunk in chunks:
            assembly.add(pb.PullAggregateResponse.FromString(chunk.SerializeToString()))
        return [
            renumber_terms(update, assembly.terms, self.terms)
            for update, _ in assembly.build_updates()
        ]

    def to_sums(self, cluster_ids: Sequence[int]) -> tuple[Any, ...]:
        """Return the sums over all shards, as bytes and texts."""
        ordered = [self.shards[shard_id] for shard_id in sorted(self.shards)]
        merged = merge_aggregates(ordered, np.array(cluster_ids, np.uint32))
        term_devices = sorted(
            (row, self.terms.contents.texts[term], devices)
            for row, term, devices in zip(
                merged.contents.counts.rows.tolist(),
                merged.contents.counts.terms.tolist(),
                merged.contents.counts.devices.tolist(),
                strict=True,
            )
        )
        hour_devices = sorted(
            (shard_id, self.terms.contents.texts[subject], hour, devices)
            for shard_id, shard in self.shards.items()
            for subject, hour, devices in zip(
                shard.hours.to_cells().subjects.tolist(),
                shard.hours.to_cells().hours.tolist(),
                shard.hours.to_cells().devices.tolist(),
                strict=True,
            )
        )
        return merged.features.sums.tobytes(), merged.shards.tobytes(), term_devices, hour_devices


COUNTS = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(HOUR - 3, HOUR)),
    st.integers(1, 9),
    max_size=6,
)


@st.composite
def draw_histories(draw: st.DrawFn) -> list[AggregateUpdate]:
    """Draw what several shards sent over time: whole at first, then what changed; some restart."""
    sent = []
    for shard_id in range(draw(st.integers(1, 3))):
        epoch, version = 1, 0
        seen: dict[tuple[str, int], int] = {}
        for _ in range(draw(st.integers(1, 3))):
            whole = version == 0 or draw(st.booleans())
            if version and draw(st.integers(0, 4)) == 0:
                epoch, version, whole, seen = epoch + 1, 0, True, {}
            version += 1
            ids = sorted(draw(st.sets(st.integers(1, 4), min_size=1)))
            devices = [draw(st.integers(0, 9)) for _ in ids]
            contents = [{"a": each} for each in devices]
            for cell, count in draw(COUNTS).items():  # counts only grow
                seen[cell] = max(count, seen.get(cell, 0))
            rows = make_cluster_rows(ids, devices, contents, version=version)
            base = 0 if whole else version - 1
            sent.append(
                make_update(
                    shard_id, rows, dict(seen), epoch=epoch, version=version, base_version=base
                )
            )
    return sent
