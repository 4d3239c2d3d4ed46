"""When a federation is late: by what it published, whichever process did, and not by its uptime."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import grpc
import pytest

from constellation.config import Seconds
from constellation.v1 import health_pb2 as pb
from constellation.v1.aggregates_pb2 import Global
from constellation.v1.health_pb2_grpc import HealthServiceStub
from federation.journal.contract import Outcome, RoundRecord, RoundState
from federation.journal.sqlite import open_sqlite
from federation.merge.result import Memory
from federation.messages import from_memory
from federation.server import serve
from tests.federation.fleet import (
    address_of,
    drama,
    federating,
    federation_config,
    push,
    run_round,
    shards,
)
from tests.telemetry.test_metrics import scraped, value

if TYPE_CHECKING:
    from pathlib import Path

    from federation.server import RunningFederation

HOURLY = Seconds(3600)
AGE = "constellation_federation_round_age_seconds"


async def round_of(federation: RunningFederation) -> pb.ComponentHealth:
    """Return what a federation tells of its rounds."""
    async with grpc.aio.insecure_channel(address_of(federation)) as channel:
        request = pb.GetDetailedHealthRequest()
        answer = await HealthServiceStub(channel).GetDetailedHealth(request)
    (part,) = [part for part in answer.components if part.name == "round"]
    assert isinstance(part, pb.ComponentHealth)
    return part


def age_of(federation: RunningFederation) -> float:
    return value(scraped(federation.ports.metrics), AGE)


def long_ago(federation: RunningFederation) -> None:
    """Let the last global have been published three hours ago."""
    federation.rounds.counts.published_at = time.time() - 3 * 3600


async def journal_of(data_dir: Path, closed_at: float) -> None:
    """Make a journal whose last global is of this time, and whose newest round had no quorum."""
    async with open_sqlite(data_dir) as journal:
        await journal.take()
        told = RoundRecord(1, RoundState.PULLING, closed_at, b"")
        await journal.begin(told)
        payload = Global(generation=1, round_id=1, closed_at=int(closed_at)).SerializeToString()
        nothing = from_memory(Memory())
        settled = replace(told, state=RoundState.PUBLISHING)
        await journal.settle(settled, Outcome(payload, nothing, {}))
        await journal.close(replace(told, state=RoundState.PUBLISHED))
        failed = RoundRecord(2, RoundState.PULLING, closed_at + 3600, b"")
        await journal.begin(failed)
        await journal.close(replace(failed, state=RoundState.NO_QUORUM))


async def test_a_federation_that_restarts_is_as_late_as_it_was(tmp_path: Path) -> None:
    await journal_of(tmp_path, time.time() - 3 * 3600)
    async with federating(
        ["127.0.0.1:1"], data_dir=tmp_path, federation_interval_secs=HOURLY
    ) as federation:
        part, age = await round_of(federation), age_of(federation)

    assert part.status == pb.HEALTH_STATUS_DEGRADED
    assert part.message.startswith("round 1 was published 108")
    assert age == pytest.approx(3 * 3600, abs=60)


async def test_a_federation_with_a_new_journal_is_not_late(tmp_path: Path) -> None:
    async with federating(
        ["127.0.0.1:1"], data_dir=tmp_path, federation_interval_secs=HOURLY
    ) as federation:
        fresh, age = await round_of(federation), age_of(federation)
        long_ago(federation)
        stale = await round_of(federation)

    assert fresh.status == pb.HEALTH_STATUS_HEALTHY
    assert fresh.message.startswith("none was published in the 0 seconds")
    assert age < 60
    assert stale.status == pb.HEALTH_STATUS_DEGRADED


async def test_a_standby_is_never_late(tmp_path: Path) -> None:
    await journal_of(tmp_path, time.time() - 3 * 3600)
    settings = {"data_dir": tmp_path, "federation_interval_secs": HOURLY}
    config = federation_config(["127.0.0.1:1"], **settings)
    async with federating(["127.0.0.1:1"], **settings) as active, serve(config) as standby:
        assert age_of(active) > 3 * 3600
        waiting = await round_of(standby)
        found = scraped(standby.ports.metrics)

    assert waiting.status == pb.HEALTH_STATUS_HEALTHY
    assert waiting.message == "none is run here: another federation is the active one"
    assert AGE not in found


async def test_a_relay_that_passed_a_global_on_is_not_late() -> None:
    async with shards(2) as fleet:
        for shard in fleet:
            await push(shard, [drama(number) for number in range(6)])
        relaying = federating(
            [address_of(each) for each in fleet], relay=True, federation_interval_secs=HOURLY
        )
        async with (
            relaying as relay,
            federating([], relay_addrs=[address_of(relay)]) as above,
        ):
            long_ago(relay)
            before = await round_of(relay)

            await run_round(above)

            after = await round_of(relay)
            found = scraped(relay.ports.metrics)

    assert before.status == pb.HEALTH_STATUS_DEGRADED
    assert after.status == pb.HEALTH_STATUS_HEALTHY
    assert value(found, AGE) < 60
    assert value(found, "constellation_federation_rounds_total", status="published") == 1
