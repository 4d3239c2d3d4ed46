from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from constellation_settop import (
    Brain,
    Device,
    DeviceSettings,
    Outbox,
    PatternStats,
    Sync,
    SyncSettings,
)
from constellation_settop.recommending.household import Household as Taste
from examples.demo.households import Household
from examples.demo.store_state import DeltaCounts, StoredDevice, StoreState
from examples.demo.verify import ShardRecord, verify_shards
from tests.clients.samples import (
    make_catalogue,
    make_learned_changes,
    make_pattern,
    send_and_acknowledge,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

STORED = StoredDevice(1, {make_pattern(1).pattern_id: PatternStats(1.0, 1)})
SIGNALS = Counter({(100, "film"): 1})


@pytest.fixture
def record() -> Iterator[ShardRecord]:
    """A shard with one device, whose only delta it has stored as it should."""
    with ExitStack() as stack:
        outbox = stack.enter_context(Outbox.open(":memory:", bytes(16), keep_journal=True))
        outbox.append(make_learned_changes(1))
        send_and_acknowledge(outbox, 1)
        device = Device(
            Taste(Brain(make_catalogue()), max_patterns=64),
            outbox,
            Sync("127.0.0.1:1", outbox, SyncSettings()),
            DeviceSettings(),
        )
        household = Household(1, device, 0, frozenset())
        yield ShardRecord(
            "north", [household], make_store(STORED), [DeltaCounts(1, 1)], SIGNALS, SIGNALS
        )


def make_store(*devices: StoredDevice, problems: tuple[str, ...] = ()) -> StoreState:
    ids = (bytes([number] * 16) for number in range(len(devices)))
    return StoreState(dict(zip(ids, devices, strict=True)), SIGNALS, problems, None)


def list_failed(record: ShardRecord) -> list[str]:
    return [check.claim for check in verify_shards([record]).checks if not check.passed]


def test_a_store_that_agrees_with_the_journals_passes_every_check(record: ShardRecord) -> None:
    result = verify_shards([record])

    assert result.passed
    assert (result.acked, result.lost, result.duplicates, result.pattern_count) == (1, 0, 0, 1)


def test_a_lost_delta_fails(record: ShardRecord) -> None:
    broken = replace(record, stored=make_store(StoredDevice(1, {})))

    assert list_failed(broken) == ["stored patterns equal those of the replayed journals"]
    assert verify_shards([broken]).lost == 1


def test_a_delta_applied_twice_fails(record: ShardRecord) -> None:
    broken = replace(record, delta_counts=[DeltaCounts(2, 1)])

    assert list_failed(broken) == ["deltas applied, as counted by shards and by cursors"]
    assert verify_shards([broken]).duplicates == 1


def test_a_device_on_the_wrong_shard_fails(record: ShardRecord) -> None:
    broken = replace(record, stored=make_store(STORED, STORED))

    assert "each device is on the shard that the map says, and on no other" in list_failed(broken)


def test_a_missing_signal_fails(record: ShardRecord) -> None:
    broken = replace(record, stored_signals=Counter())

    assert list_failed(broken) == ["hourly counts equal those recomputed from the viewings"]


def test_an_inconsistent_store_fails(record: ShardRecord) -> None:
    broken = replace(record, stored=make_store(STORED, problems=("a row is damaged",)))

    assert list_failed(broken) == ["store and index agree"]
