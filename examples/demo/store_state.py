"""What a shard has stored, and what it must have stored according to its devices.

A lost delta is easy to find: for each device, the replayed journal and the stored patterns differ.
A delta that was applied twice is harder to find, because its values are absolute. Therefore deltas
are counted in two independent ways. A shard counts all deltas that it applied since its start. A
stored cursor is the seq of a device's last delta, and seqs have no gaps, as the journals show; so
the sum of the cursors is the number of different deltas applied. Both counts must be equal: for the
first process in a pause shortly before the kill, when everything is acked; and for the second
process at the end, counted from a copy of the store that the killed process left. What the first
process applied between the pause and the kill is counted by cursors only.

The hourly counts are a third source, recomputed from the viewings alone. They show missing signals.
They would show few repeated ones, because a shard ignores most of these by itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from constellation.config import ShardConfig
from constellation.core.recovery import recover_shard
from constellation.core.rows import TermKind
from constellation.shard_settings import to_rules
from constellation_settop import PatternStats, replay
from constellation_settop.recommending.rewards import SUCCESS_THRESHOLD, compute_reward
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
"""Number of devices with a signal, by hour and content id."""


@dataclass(frozen=True, slots=True)
class StoredDevice:
    """What a shard has stored of one device."""

    seq: int
    """The cursor: the seq of the last delta applied."""
    patterns: Mapping[bytes, PatternStats]
    """By pattern id."""


@dataclass(frozen=True, slots=True)
class StoreState:
    """What a shard has stored."""

    devices: Mapping[bytes, StoredDevice]
    """By device id."""
    signals: Signals
    problems: Sequence[str]
    """Inconsistencies that recovery found."""
    global_state: StoredGlobal | None
    """What the federation published last, or None."""

    @property
    def deltas(self) -> int:
        """How many different deltas were applied, ever."""
        return sum(device.seq for device in self.devices.values())


@dataclass(frozen=True, slots=True)
class DeltaCounts:
    """Deltas that one process of a shard applied, counted in two ways."""

    applied: int
    """By the shard's own counter since its start."""
    distinct: int
    """By the change in the sum of its cursors."""

    @property
    def duplicates(self) -> int:
        """Deltas applied more than once."""
        return max(0, self.applied - self.distinct)


async def read_store(reader: StoreReader) -> StoreState:
    """Read what a shard has stored."""
    config = ShardConfig()
    recovered = await recover_shard(reader, to_rules(config), None, exact_limit=config.exact_limit)
    counts = await reader.read_hourly_counts()
    vocabulary = recovered.table.vocabulary
    signals = Counter(
        {
            (hour, vocabulary.text(TermKind.CONTENT, number)): devices
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
        row["device_id"].tobytes(): StoredDevice(int(row["seq"]), stored)
        for row, stored in zip(table.devices[slots], patterns, strict=True)
    }


def compute_signals(viewings: Viewings, times: NDArray[np.int64]) -> Signals:
    """Return the signals that these viewings must have caused, computed without any device.

    Each successful view is a signal, up to SIGNALS_PER_HOUR of a device in one hour. No household
    watches a film twice.
    """
    sent: Counter[tuple[int, int]] = Counter()
    signals: Signals = Counter()
    rewards = map(
        compute_reward, viewings.watch_percentages.tolist(), viewings.engagements.tolist()
    )
    hours = (times // SECONDS_PER_HOUR).tolist()
    for household, content_id, hour, reward in zip(
        viewings.households.tolist(), viewings.content_ids.tolist(), hours, rewards, strict=True
    ):
        if reward > SUCCESS_THRESHOLD and sent[household, hour] < SIGNALS_PER_HOUR:
            sent[household, hour] += 1
            signals[hour, content_id] += 1
    return signals


def filter_recent(signals: Signals, oldest_hour: int) -> Signals:
    """Return the signals from `oldest_hour` on. A shard may drop older ones at any time."""
    return Counter({key: n for key, n in signals.items() if key[0] >= oldest_hour and n})


def find_lost_deltas(entries: Sequence[AckedDelta], stored: StoredDevice | None) -> set[int]:
    """Return the seqs of acked deltas of one device whose effect the shard lacks.

    Seq 0 stands for a stored pattern that no delta explains.
    """
    if stored is None:
        return {entry.seq for entry in entries}
    lost = {entry.seq for entry in entries if entry.seq > stored.seq}
    expected, writers = replay(entries), _map_last_writers(entries)
    for pattern_id in expected.keys() | stored.patterns.keys():
        if expected.get(pattern_id) != stored.patterns.get(pattern_id):
            lost.add(writers.get(pattern_id, 0))
    return lost


def _map_last_writers(entries: Iterable[AckedDelta]) -> dict[bytes, int]:
    """Return, by pattern id, the seq of the last delta that names the pattern."""
    return {
        pattern_id: entry.seq
        for entry in entries
        for pattern_id in (*entry.upserts, *entry.removed_ids)
    }
