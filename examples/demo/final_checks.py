"""Closes the books: stops every server, and checks what each of them has stored."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.transport.codec.globals import to_global
from examples.demo.process import DemoError
from examples.demo.store_state import (
    SECONDS_PER_HOUR,
    WINDOW_HOURS,
    Counted,
    read_store,
    signals_of,
    since,
)
from examples.demo.verify import Check, Ledger, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from constellation.federated.published import Published
    from constellation.v1 import shard_pb2
    from examples.demo.data import Material
    from examples.demo.households import Household
    from examples.demo.scenario import Watched
    from examples.demo.servers import Fleet, RunningShard
    from examples.demo.store_state import Signals, Stored

ROUNDS: Final = 3
"""Rounds that are published."""


@dataclass(frozen=True, slots=True)
class Closed:
    """What all servers left."""

    verdict: Verdict
    published: Published
    """The last global, as a shard holds it."""
    holders: Mapping[str, int]
    """By region: devices with clusters of it, and with no others."""


async def close(
    fleet: Fleet,
    households: Sequence[Household],
    material: Material,
    watched: Watched,
    stats: Sequence[shard_pb2.GetStatsResponse],
) -> Closed:
    """Stop every server, and compare its files with the devices' journals."""
    drained = [await fleet.federation.stop()]
    drained += [await shard.process.stop() for shard in fleet.shards]
    answers = [await shard.process.check() for shard in fleet.shards]
    ledgers = []
    for shard, measured in zip(fleet.shards, stats, strict=True):
        async with shard.process.store.read() as reader:
            stored = await read_store(reader)
        mine = [each for each in households if each.shard_id == shard.shard_id]
        counted = _counted(fleet, shard, measured.deltas_applied, stored, watched)
        expected = _expected(material, mine)
        ledgers.append(
            Ledger(shard.region, mine, stored, counted, _kept(expected), _kept(stored.signals))
        )
    left = watched.killed.left.problems
    published = _published(ledgers)
    holders = {ledger.region: _holders(ledger, published) for ledger in ledgers}
    checks = (
        *_of_rounds(fleet, stats),
        _of_devices(ledgers, holders),
        Check("what the killed shard left was sound", not left, "; ".join(left) or "yes"),
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
    return Closed(judge(ledgers).with_checks(checks), published, holders)


def _counted(
    fleet: Fleet, shard: RunningShard, applied: int, stored: Stored, watched: Watched
) -> Sequence[Counted]:
    """Return what each process of a shard applied, by its own count and by the cursors."""
    if shard is not fleet.unlucky:
        return (Counted(applied, stored.deltas),)
    return watched.quiet, Counted(applied, stored.deltas - watched.killed.left.deltas)


def _expected(material: Material, households: Sequence[Household]) -> Signals:
    numbers = [each.number for each in households]
    mine = np.isin(material.watched.households, numbers)
    return signals_of(material.watched.where(mine), material.times[mine])


def _kept(signals: Signals) -> Signals:
    """Return those that a shard keeps for certain."""
    return since(signals, int(time.time()) // SECONDS_PER_HOUR - WINDOW_HOURS + 1)


def _published(ledgers: Sequence[Ledger]) -> Published:
    """Return the last global that the shards hold."""
    stored = [ledger.stored.published for ledger in ledgers]
    held = [each for each in stored if each is not None]
    if not held:
        raise DemoError("no shard holds a global of the federation")
    newest = max(held, key=lambda each: each.round_id)
    return to_global(newest.payload)


def _of_rounds(
    fleet: Fleet, stats: Sequence[shard_pb2.GetStatsResponse]
) -> tuple[Check, Check, Check]:
    asked, published = fleet.federation.asked, fleet.federation.published
    refused = [each for each in asked if not each.published]
    last = published[-1].told.round_id if published else 0
    held = ", ".join(str(each.round_id) for each in stats)
    return (
        Check(
            "three rounds were published",
            len(published) == ROUNDS,
            ", ".join(f"round {each.told.round_id}" for each in published),
        ),
        Check(
            "without a quorum nothing was published",
            [each.told.coverage.shards_heard for each in refused] == [1],
            ", ".join(f"round {each.told.round_id}: one shard heard" for each in refused),
        ),
        Check(
            "every shard holds the last round",
            all(each.round_id == last for each in stats),
            f"rounds {held}; the last is {last}",
        ),
    )


def _of_devices(ledgers: Sequence[Ledger], holders: Mapping[str, int]) -> Check:
    return Check(
        "devices of both shards hold the last clusters",
        all(holders[ledger.region] == len(ledger.households) for ledger in ledgers),
        "; ".join(
            f"{ledger.region}: {holders[ledger.region]} of {len(ledger.households)}"
            for ledger in ledgers
        ),
    )


def _holders(ledger: Ledger, published: Published) -> int:
    """Count the devices whose clusters are all of the last global."""
    last = set(published.clusters.ids)
    held = (each.outbox.global_state.clusters.keys() for each in ledger.households)
    return sum(bool(clusters) and clusters <= last for clusters in held)
