"""What a shard has stored, and what the devices' own journals say it must hold.

Nothing that is lost is easy to see: for each device the replayed journal and the stored patterns
are the same, or they are not. A delta that is applied twice hides better, because its values are
absolute; so deltas are counted in two independent ways. A shard counts the deltas it applied since
it started, whatever they were. A stored cursor is the seq of the last delta, and numbering has no
gaps (the journals show it), so the sum of the cursors is the number of different deltas applied.
Both must agree: in the first life when all was acked, shortly before the kill, and for the second
life over everything it stored, counting from a copy of the store that the killed process left.
What the first life applied between these two moments is counted by its cursors only.

The hourly counts are a third witness, recomputed from the viewings alone. They show signals that
are missing; of repeated ones a shard ignores most by itself, so they alone would prove little.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from constellation.config import ShardConfig
from constellation.core.recovery import recover_shard
from constellation.core.rows import TermKind
from constellation.server import to_rules
from constellation_settop import PatternStats, replay
from constellation_settop.recommending.learning import SUCCESS_THRESHOLD, compute_reward
from constellation_settop.values import SECONDS_PER_HOUR, SIGNALS_PER_HOUR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from constellation.core.recovery import RecoveredShard
    from constellation.core.store import StoreReader
    from constellation.federated.published import StoredGlobal
    from constellation_settop import AckedDelta
    from testing.viewings import Viewings

Signals = Counter[tuple[int, str]]
"""Distinct devices by hour and content id."""


@dataclass(frozen=True, slots=True)
class StoredDevice:
    seq: int
    """The cursor: the last delta applied."""
    patterns: Mapping[bytes, PatternStats]


@dataclass(frozen=True, slots=True)
class StoreState:
    """What a shard's files hold."""

    devices: Mapping[bytes, StoredDevice]
    signals: Signals
    problems: Sequence[str]
    global_state: StoredGlobal | None
    """What the federation published last."""

    @property
    def deltas(self) -> int:
        """How many different deltas were ever applied."""
        return sum(device.seq for device in self.devices.values())


@dataclass(frozen=True, slots=True)
class DeltaCounts:
    """Deltas a shard says it applied since it started, and those that its cursors moved by."""

    applied: int
    distinct: int

    @property
    def duplicates(self) -> int:
        return max(0, self.applied - self.distinct)


async def read_store(reader: StoreReader) -> StoreState:
    """Read what a shard has stored."""
    config = ShardConfig()
    recovered = await recover_shard(reader, to_rules(config), None, exact_limit=config.exact_limit)
    counts = await reader.read_hourly_counts()
    words = recovered.table.vocabulary
    signals = Counter(
        {
            (hour, words.text(TermKind.CONTENT, number)): devices
            for hour, kind, number, devices in zip(
                counts.hours.tolist(),
                counts.kinds.tolist(),
                counts.numbers.tolist(),
                counts.devices.tolist(),
                strict=True,
            )
            if kind == TermKind.CONTENT
        }
    )
    published = await reader.get_global()
    return StoreState(_to_devices(recovered), signals, recovered.problems, published)


def _to_devices(recovered: RecoveredShard) -> dict[bytes, StoredDevice]:
    table = recovered.table
    used = np.ones(table.device_allocator.high_water, bool)
    used[table.device_allocator.free_list] = False
    slots = np.flatnonzero(used)
    holding = table.find_patterns(slots)
    patterns: list[dict[bytes, PatternStats]] = [{} for _ in slots]
    rows = table.patterns[holding.slots]
    for owner, row in zip(holding.owners.tolist(), rows, strict=True):
        value = PatternStats(float(row["success_rate"]), int(row["sample_count"]))
        patterns[owner][row["pattern_id"].tobytes()] = value
    return {
        row["device_id"].tobytes(): StoredDevice(int(row["seq"]), held)
        for row, held in zip(table.devices[slots], patterns, strict=True)
    }


def compute_signals(viewings: Viewings, times: NDArray[np.int64]) -> Signals:
    """Return the signals that these viewings must have left, recomputed without any device.

    A view with success is a signal; each device may send a few in an hour, and its films are
    all different.
    """
    sent: Counter[tuple[int, int]] = Counter()
    signals: Signals = Counter()
    rewards = map(
        compute_reward, viewings.watch_percentages.tolist(), viewings.engagements.tolist()
    )
    hours = (times // SECONDS_PER_HOUR).tolist()
    for household, content_id, hour, gained in zip(
        viewings.households.tolist(), viewings.content_ids.tolist(), hours, rewards, strict=True
    ):
        if gained > SUCCESS_THRESHOLD and sent[household, hour] < SIGNALS_PER_HOUR:
            sent[household, hour] += 1
            signals[hour, content_id] += 1
    return signals


def filter_recent(signals: Signals, oldest_hour: int) -> Signals:
    """Return those that the shard still keeps: older ones it may drop or forget at any time."""
    return Counter({key: n for key, n in signals.items() if key[0] >= oldest_hour and n})


def find_lost_deltas(entries: Sequence[AckedDelta], stored: StoredDevice | None) -> set[int]:
    """Return the acked deltas of one device, by seq, whose effect the shard lacks."""
    if stored is None:
        return {entry.seq for entry in entries}
    lost = {entry.seq for entry in entries if entry.seq > stored.seq}
    expected, writers = replay(entries), _map_last_writers(entries)
    for pattern_id in expected.keys() | stored.patterns.keys():
        if expected.get(pattern_id) != stored.patterns.get(pattern_id):
            lost.add(writers.get(pattern_id, 0))
    return lost


def _map_last_writers(entries: Iterable[AckedDelta]) -> dict[bytes, int]:
    """Return which delta last named each pattern."""
    return {
        pattern_id: entry.seq
        for entry in entries
        for pattern_id in (*entry.upserts, *entry.removed_ids)
    }
