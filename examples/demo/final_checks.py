"""The end of a run: stops every server, and checks what each of them has stored."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.transport.codec.global_state import to_global
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
"""Rounds that the scenario publishes."""


@dataclass(frozen=True, slots=True)
class FinalState:
    """What the servers left, and the result of all checks."""

    verdict: VerificationResult
    published: PublishedGlobal
    """The last global state that was published, as a shard has stored it."""
    devices_with_clusters: Mapping[str, int]
    """By region: devices whose clusters are all of the last round."""


async def stop_and_verify(
    servers: DemoServers,
    households: Sequence[Household],
    data: DemoData,
    scenario_result: ScenarioResult,
    stats: Sequence[shard_pb2.GetStatsResponse],
) -> FinalState:
    """Stop every server, and compare what it has stored with the devices' journals."""
    exit_codes = [await servers.federation.stop()]
    exit_codes += [await shard.process.stop() for shard in servers.shards]
    answers = [await shard.process.check() for shard in servers.shards]
    records = []
    for shard, measured in zip(servers.shards, stats, strict=True):
        async with shard.process.store.read() as reader:
            stored = await read_store(reader)
        shard_households = [each for each in households if each.shard_id == shard.shard_id]
        counts = _count_deltas(servers, shard, measured.deltas_applied, stored, scenario_result)
        expected = _compute_expected(data, shard_households)
        records.append(
            ShardRecord(
                shard.region,
                shard_households,
                stored,
                counts,
                _filter_kept(expected),
                _filter_kept(stored.signals),
            )
        )
    problems = scenario_result.kill.stored.problems
    published = _find_newest_global(records)
    devices_with_clusters = {
        record.region: _count_devices_with_clusters(record, published) for record in records
    }
    checks = (
        *_check_rounds(servers, stats),
        _check_devices(records, devices_with_clusters),
        Check(
            "the store of the killed shard was consistent",
            not problems,
            "; ".join(problems) or "yes",
        ),
        Check(
            "shards and federation exit with 0 after SIGTERM",
            not any(exit_codes),
            f"exit {', '.join(map(str, exit_codes))}",
        ),
        Check(
            "`constellation check` passes on both shards",
            not any(status for status, _ in answers),
            "; ".join(f"exit {status}: {answer}" for status, answer in answers),
        ),
    )
    return FinalState(verify_shards(records).add_checks(checks), published, devices_with_clusters)


def _count_deltas(
    servers: DemoServers,
    shard: DemoShard,
    applied: int,
    stored: StoreState,
    scenario_result: ScenarioResult,
) -> Sequence[DeltaCounts]:
    """Return what each process of a shard applied, by its own count and by the cursors."""
    if shard is not servers.killed_shard:
        return (DeltaCounts(applied, stored.deltas),)
    return scenario_result.counts_before_kill, DeltaCounts(
        applied, stored.deltas - scenario_result.kill.stored.deltas
    )


def _compute_expected(data: DemoData, households: Sequence[Household]) -> Signals:
    numbers = [each.number for each in households]
    mine = np.isin(data.watched.households, numbers)
    return compute_signals(data.watched.select(mine), data.times[mine])


def _filter_kept(signals: Signals) -> Signals:
    """Return the signals of hours that a shard still keeps."""
    return filter_recent(signals, int(time.time()) // SECONDS_PER_HOUR - TREND_WINDOW_HOURS + 1)


def _find_newest_global(records: Sequence[ShardRecord]) -> PublishedGlobal:
    """Return the newest global state that the shards have stored."""
    stored = [record.stored.global_state for record in records]
    published = [each for each in stored if each is not None]
    if not published:
        raise DemoError("no shard has stored a global state of the federation")
    newest = max(published, key=lambda each: each.round_id)
    return to_global(newest.payload)


def _check_rounds(
    servers: DemoServers, stats: Sequence[shard_pb2.GetStatsResponse]
) -> tuple[Check, Check, Check]:
    rounds, published = servers.federation.rounds, servers.federation.published_rounds
    refused = [each for each in rounds if not each.is_published]
    last = published[-1].report.round_id if published else 0
    rounds_of_shards = ", ".join(str(each.round_id) for each in stats)
    return (
        Check(
            f"{PUBLISHED_ROUNDS} rounds were published",
            len(published) == PUBLISHED_ROUNDS,
            ", ".join(f"round {each.report.round_id}" for each in published),
        ),
        Check(
            "nothing was published without a quorum",
            [each.report.coverage.shards_fresh for each in refused] == [1],
            ", ".join(f"round {each.report.round_id}: one shard answered" for each in refused),
        ),
        Check(
            "every shard has the last round",
            all(each.round_id == last for each in stats),
            f"rounds {rounds_of_shards}; the last is {last}",
        ),
    )


def _check_devices(
    records: Sequence[ShardRecord], devices_with_clusters: Mapping[str, int]
) -> Check:
    return Check(
        "every device has clusters of the last round only",
        all(devices_with_clusters[record.region] == len(record.households) for record in records),
        "; ".join(
            f"{record.region}: {devices_with_clusters[record.region]} of {len(record.households)}"
            for record in records
        ),
    )


def _count_devices_with_clusters(record: ShardRecord, published: PublishedGlobal) -> int:
    """Count the devices that have clusters, and only those of the last round."""
    last = set(published.clusters.ids)
    known = (each.outbox.global_state.clusters.keys() for each in record.households)
    return sum(bool(clusters) and clusters <= last for clusters in known)
