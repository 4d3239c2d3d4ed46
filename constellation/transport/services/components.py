"""Components of a shard for HealthService: the status of each, and the figures behind it."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.transport.codec.times import to_duration
from constellation.v1 import health_pb2 as pb
from constellation.wall_clock import read_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from constellation.core.shard import ShardManager
    from constellation.transport.health.service import Health
    from constellation.transport.sync.streams import OpenStreams

MIN_RECALL: Final = 0.95
"""The index is degraded when the recall@10 of the last probe is lower."""
MAX_STREAMS_SHARE: Final = 0.85
"""The streams are degraded when a larger share of MAX_STREAMS is open."""
MIN_FREE_SHARE: Final = 0.1
"""The disk under DATA_DIR is degraded when a smaller share of it is free."""

_HEALTHY: Final = pb.HEALTH_STATUS_HEALTHY
_DEGRADED: Final = pb.HEALTH_STATUS_DEGRADED


@dataclass(frozen=True, slots=True)
class ShardComponents:
    """Reports the components of one shard, from what other parts measure: a probe costs little."""

    health: Health
    shard: ShardManager
    streams: OpenStreams
    data_dir: Path | None
    max_streams: int
    global_max_age_seconds: float
    """The federation is degraded when its last global state is older; 0 means never."""
    describe_security: Callable[[], Sequence[pb.ComponentHealth]]
    """Returns the components of certificate and keys."""

    def __call__(self) -> Sequence[pb.ComponentHealth]:
        """Return the components as they are now."""
        components = [
            self._check_store(),
            self._check_index(),
            self._check_streams(),
            self._check_federation(),
        ]
        if self.data_dir is not None:
            components.append(self._check_disk(self.data_dir))
        return [*components, *self.describe_security(), self.health.describe_traffic()]

    def _check_store(self) -> pb.ComponentHealth:
        """Report the result of the last probe. A probe for each call would load the store."""
        problem, totals = self.health.store_problem, self.shard.table.totals
        healthy_message = (
            f"{self.shard.store.kind} at commit {totals.lsn}, {totals.patterns} patterns"
        )
        return pb.ComponentHealth(
            name="store",
            status=pb.HEALTH_STATUS_UNHEALTHY if problem else _HEALTHY,
            message=problem or healthy_message,
            latency=to_duration(self.health.store_latency),
        )

    def _check_index(self) -> pb.ComponentHealth:
        shard, recall = self.shard, self.shard.recall
        behind = shard.sharing.pending_count
        message = f"{shard.index.kind}, {len(shard.index)} shared patterns, {behind} behind"
        if recall is None:
            return _make_component("index", message, degraded=False)
        component = _make_component(
            "index",
            f"{message}, recall@10 {recall.ratio:.2f}",
            degraded=recall.ratio < MIN_RECALL,
        )
        component.latency.CopyFrom(to_duration(recall.search_seconds))
        return component

    def _check_streams(self) -> pb.ComponentHealth:
        count = len(self.streams)
        return _make_component(
            "streams",
            f"{count} open, MAX_STREAMS is {self.max_streams}",
            degraded=count > MAX_STREAMS_SHARE * self.max_streams,
        )

    def _check_federation(self) -> pb.ComponentHealth:
        published = self.shard.global_state.published
        if published is None:
            return _make_component("federation", "no global state yet", degraded=False)
        age, limit = max(0.0, read_clock() - published.closed_at), self.global_max_age_seconds
        is_old = 0 < limit < age
        limit_text = f", GLOBAL_MAX_AGE_SECONDS is {limit:g}" if is_old else ""
        message = f"round {published.round.round_id} is {age:.0f} seconds old{limit_text}"
        return _make_component("federation", message, degraded=is_old)

    def _check_disk(self, data_dir: Path) -> pb.ComponentHealth:
        started = time.monotonic()
        try:
            usage = shutil.disk_usage(data_dir)
        except OSError as error:
            return pb.ComponentHealth(
                name="disk",
                status=pb.HEALTH_STATUS_UNHEALTHY,
                message=f"cannot read DATA_DIR {data_dir}: {error.strerror}",
            )
        component = _make_component(
            "disk",
            f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB free",
            degraded=usage.free < MIN_FREE_SHARE * usage.total,
        )
        component.latency.CopyFrom(to_duration(time.monotonic() - started))
        return component


def _make_component(name: str, message: str, *, degraded: bool) -> pb.ComponentHealth:
    return pb.ComponentHealth(
        name=name, status=_DEGRADED if degraded else _HEALTHY, message=message
    )
