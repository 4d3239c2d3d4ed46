"""Values that report on a round: its state, what became of each shard, what it published."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.federated.aggregate import AggregateVersion
    from federation.merge.result import FederatedTrend


class RoundState(IntEnum):
    """How far a round is. The numbers are those of constellation.v1.RoundState."""

    PULLING = 1
    """It has no result yet. After a crash it begins again."""
    PUBLISHING = 2
    """Its result is in the journal and is being published."""
    PUBLISHED = 3
    """Every shard that could be reached has its result."""
    NO_QUORUM = 4
    """Too few shards answered, and nothing was published."""


class ShardOutcome(IntEnum):
    """What became of one address. The numbers are those of constellation.v1.ShardOutcome."""

    FRESH = 1
    """It answered, and the round used its answer."""
    STALE = 2
    """It did not answer, and the round used an earlier aggregate."""
    MISSING = 3
    """It did not answer, and there is no earlier aggregate that is recent enough."""
    REJECTED = 4
    """It answered, but the answer or a part of it was refused."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many shards and devices a round represents."""

    shards_fresh: int = 0
    """Shards that answered during the round."""
    shards_stale: int = 0
    """Shards that an earlier aggregate stands for."""
    shards_total: int = 0
    """Known shards, and addresses that never answered."""
    devices_fresh: int = 0
    """Devices of the fresh shards."""
    devices_total: int = 0
    """Devices of the fresh and the stale shards."""

    @property
    def device_ratio(self) -> float | None:
        """The share of devices whose shard is fresh, from 0 to 1.

        0 if no shard is fresh. None if shards answered and have no devices.
        """
        if self.devices_total:
            return self.devices_fresh / self.devices_total
        return None if self.shards_fresh else 0.0


@dataclass(frozen=True, slots=True)
class UnavailableShard:
    """An address below a relay that did not answer the relay."""

    address: str
    """As the relay knows it."""
    shard_ids: Sequence[int]
    """The shards that answered there before."""
    problem: str
    """Why it did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """What became of one address, a shard or a relay, in a round."""

    address: str
    outcome: ShardOutcome
    problem: str = ""
    """Why the address is not fresh; empty if it is."""
    versions: Sequence[AggregateVersion] = ()
    """The aggregates that the round used: one for each shard that answers through the address."""
    devices: int = 0
    """The devices of those aggregates."""
    pull_seconds: float = 0.0
    pulled_bytes: int = 0
    age_seconds: float = 0.0
    """The age of the oldest of those aggregates when the round closed."""
    is_published: bool = False
    """The result of the round is durable there."""
    publish_problem: str = ""
    """Why the result is not durable there; empty if it is, or before it was published."""
    unavailable: Sequence[UnavailableShard] = ()
    """What is behind this address, a relay, and did not answer it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundReport:
    """What operators see of a round. Immutable: each step of a round makes a new one.

    A field that no step has filled yet is None, 0 or empty.
    """

    round_id: int
    """From 1; grows by one."""
    generation: int
    """When the federation's journal was made: milliseconds since 1970."""
    state: RoundState
    started_at: float
    """Seconds since 1970."""
    closed_at: float | None = None
    """When the pulls ended: seconds since 1970."""
    coverage: Coverage | None = None
    shards: Sequence[ShardReport] = ()
    """Ordered by address."""
    anchor_count: int = 0
    codebook_version: int = 0
    cluster_count: int = 0
    """Clusters that were published."""
    trend_count: int = 0
    """Trends that were published, global and regional."""
    trends: Sequence[FederatedTrend] = ()
    """The first of the published trends, at most MAX_REPORTED_TRENDS of report.py."""
    result_bytes: int = 0
    """The size of the serialised result."""
    result_sha256: bytes = b""
    """The SHA-256 of the serialised result, 32 bytes."""
    pull_seconds: float | None = None
    merge_seconds: float | None = None
    publish_seconds: float | None = None
    contributors: int = 0
    """Devices that contribute to related and popular content; 0 if the round did not ask."""
    dictionary_size: int = 0
    """Content items whose pairs shards count from now on."""
    related_count: int = 0
    """Rows of related content that were published."""
    related_changed_count: int = 0
    """How many of these rows are new or changed in this round."""
    popular_count: int = 0
    """Lists of popular content that were published."""
    solve_seconds: float | None = None
    """How long it took to compute related and popular content; None if the round did not."""
