"""Closes the books: stops every server, and checks what each of them has stored."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.transport.codec.globals import to_global
from constellation_settop.values import SECONDS_PER_HOUR, TREND_WINDOW_HOURS
from examples.demo.process import DemoError
from examples.demo.store_state import (
    DeltaCounts,
    compute_signals,
    filter_recent,
    read_store,
)
from examples.demo.verify import Check, ShardRecord, VerificationResult, verify_shards

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from constellation.federated.published import PublishedGlobal
    from constellation.v1 import shard_pb2
    from examples.demo.data import DemoData
    from examples.demo.households import Household
    from examples.demo.scenario import ScenarioResult
    from examples.demo.servers import DemoServers, DemoShard
    from examples.demo.store_state import Signals, StoreState

PUBLISHED_ROUNDS: Final = 3
"""Rounds that are published."""


@dataclass(frozen=True, slots=True)
class FinalState:
    """What all servers left."""

    verdict: VerificationResult
    published: PublishedGlobal
    """The last global, as a shard holds it."""
    devices_with_clusters: Mapping[str, int]
    """By region: devices with clusters of it, and with no others."""


async def stop_and_verify(
    fleet: DemoServers,
    households: Sequence[Household],
    material: DemoData,
    scenario_result: ScenarioResult,
    stats: Sequence[shard_pb2.GetStatsResponse],
) -> FinalState:
    """Stop every server, and compare its files with the devices' journals."""
    drained = [await fleet.federation.stop()]
    drained += [await shard.process.stop() for shard in fleet.shards]
    answers = [await shard.process.check() for shard in fleet.shards]
    records = []
    for shard, measured in zip(fleet.shards, stats, strict=True):
        async with shard.process.store.read() as reader:
            stored = await read_store(reader)
        households_of_shard = [each for each in households if each.shard_id == shard.shard_id]
        counted = _count_deltas(fleet, shard, measured.deltas_applied, stored, scenario_result)
        expected = _compute_expected(material, households_of_shard)
        records.append(
            ShardRecord(
                shard.region,
                households_of_shard,
                stored,
                counted,
                _filter_kept(expected),
                _filter_kept(stored.signals),
            )
        )
    problems = scenario_result.kill.stored.problems
    published = _find_newest_global(records)
    devices_with_clusters = {
        ledger.region: _count_devices_with_clusters(ledger, published) for ledger in records
    }
    checks = (
        *_check_rounds(fleet, stats),
        _check_devices(records, devices_with_clusters),
        Check("what the killed shard left was sound", not problems, "; ".join(problems) or "yes"),
        Check(
            "shards and federation end in order on SIGTERM",
            not any(drained),
            f"exit {', '.join(map(str, drained))}",
        ),
        Check(
            "`constellation check` of both shards",
            not any(status for status, _ in answers),
            "; ".join(f"exit {status}: {answer}" for status, answer in answers),
        ),
    )
    return FinalState(verify_shards(records).add_checks(checks), published, devices_with_clusters)


def _count_deltas(
    fleet: DemoServers,
    shard: DemoShard,
    applied: int,
    stored: StoreState,
    scenario_result: ScenarioResult,
) -> Sequence[DeltaCounts]:
    """Return what each process of a shard applied, by its own count and by the cursors."""
    if shard is not fleet.killed_shard:
        return (DeltaCounts(applied, stored.deltas),)
    return scenario_result.counts_before_kill, DeltaCounts(
        applied, stored.deltas - scenario_result.kill.stored.deltas
    )


def _compute_expected(material: DemoData, households: Sequence[Household]) -> Signals:
    numbers = [each.number for each in households]
    mine = np.isin(material.watched.households, numbers)
    return compute_signals(material.watched.select(mine), material.times[mine])


def _filter_kept(signals: Signals) -> Signals:
    """Return those that a shard keeps for certain."""
    return filter_recent(signals, int(time.time()) // SECONDS_PER_HOUR - TREND_WINDOW_HOURS + 1)


def _find_newest_global(records: Sequence[ShardRecord]) -> PublishedGlobal:
    """Return the last global that the shards hold."""
    stored = [ledger.stored.global_state for ledger in records]
    held = [each for each in stored if each is not None]
    if not held:
        raise DemoError("no shard holds a global of the federation")
    newest = max(held, key=lambda each: each.round_id)
    return to_global(newest.payload)


def _check_rounds(
    fleet: DemoServers, stats: Sequence[shard_pb2.GetStatsResponse]
) -> tuple[Check, Check, Check]:
    rounds, published = fleet.federation.rounds, fleet.federation.published_rounds
    refused = [each for each in rounds if not each.is_published]
    last = published[-1].report.round_id if published else 0
    held = ", ".join(str(each.round_id) for each in stats)
    return (
        Check(
            "three rounds were published",
            len(published) == PUBLISHED_ROUNDS,
            ", ".join(f"round {each.report.round_id}" for each in published),
        ),
        Check(
            "without a quorum nothing was published",
            [each.report.coverage.shards_fresh for each in refused] == [1],
            ", ".join(f"round {each.report.round_id}: one shard heard" for each in refused),
        ),
        Check(
            "every shard holds the last round",
            all(each.round_id == last for each in stats),
            f"rounds {held}; the last is {last}",
        ),
    )


def _check_devices(
    records: Sequence[ShardRecord], devices_with_clusters: Mapping[str, int]
) -> Check:
    return Check(
        "devices of both shards hold the last clusters",
        all(devices_with_clusters[ledger.region] == len(ledger.households) for ledger in records),
        "; ".join(
            f"{ledger.region}: {devices_with_clusters[ledger.region]} of {len(ledger.households)}"
            for ledger in records
        ),
    )


def _count_devices_with_clusters(record: ShardRecord, published: PublishedGlobal) -> int:
    """Count the devices whose clusters are all of the last global."""
    last = set(published.clusters.ids)
    held = (each.outbox.global_state.clusters.keys() for each in record.households)
    return sum(bool(clusters) and clusters <= last for clusters in held)
