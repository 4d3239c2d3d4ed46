"""A federation is late by what was last published, by any process, and not by its uptime."""

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
from federation.journal.contract import RoundOutput, RoundRecord
from federation.journal.sqlite import open_sqlite_journal
from federation.merge.result import ModelState
from federation.messages import serialise_model_state, serialise_report
from federation.round_report import RoundReport, RoundState
from federation.server import serve
from tests.federation.fleet import (
    get_address,
    make_drama_device,
    make_federation_config,
    push_devices,
    run_federation,
    run_round,
    run_shards,
)
from tests.polling import wait_until
from tests.telemetry.test_metrics import get_value, scrape_metrics

if TYPE_CHECKING:
    from pathlib import Path

    from federation.server import RunningFederation

HOURLY = Seconds(3600)
NO_QUORUM = serialise_report(
    RoundReport(round_id=2, generation=1, state=RoundState.NO_QUORUM, started_at=1.0)
)
AGE = "constellation_federation_round_age_seconds"


async def fetch_round_health(federation: RunningFederation) -> pb.ComponentHealth:
    """Return the health of a federation's rounds."""
    async with grpc.aio.insecure_channel(get_address(federation)) as channel:
        request = pb.GetDetailedHealthRequest()
        answer = await HealthServiceStub(channel).GetDetailedHealth(request)
    (component,) = [component for component in answer.components if component.name == "round"]
    assert isinstance(component, pb.ComponentHealth)
    return component


def scrape_age(federation: RunningFederation) -> float:
    return get_value(scrape_metrics(federation.ports.metrics), AGE)


def backdate_publication(federation: RunningFederation) -> None:
    """Let the last global have been published three hours ago."""
    federation.rounds.stats.published_at = time.time() - 3 * 3600


async def make_journal(data_dir: Path, closed_at: float) -> None:
    """Make a journal whose last global is of this time, and whose newest round had no quorum."""
    async with open_sqlite_journal(data_dir) as journal:
        await journal.become_active()
        record = RoundRecord(1, RoundState.PULLING, closed_at, b"")
        await journal.begin_round(record)
        payload = Global(generation=1, round_id=1, closed_at=int(closed_at)).SerializeToString()
        nothing = serialise_model_state(ModelState())
        publishing = replace(record, state=RoundState.PUBLISHING)
        await journal.save_result(publishing, RoundOutput(payload, nothing, {}))
        await journal.close_round(replace(record, state=RoundState.PUBLISHED))
        failed = RoundRecord(2, RoundState.PULLING, closed_at + 3600, NO_QUORUM)
        await journal.begin_round(failed)
        await journal.close_round(replace(failed, state=RoundState.NO_QUORUM))


async def test_a_federation_that_restarts_is_as_late_as_it_was(tmp_path: Path) -> None:
    await make_journal(tmp_path, time.time() - 3 * 3600)
    async with run_federation(
        ["127.0.0.1:1"], data_dir=tmp_path, federation_interval_secs=HOURLY
    ) as federation:
        component, age = await fetch_round_health(federation), scrape_age(federation)

    assert component.status == pb.HEALTH_STATUS_DEGRADED
    assert component.message.startswith("round 1 was published 108")
    assert age == pytest.approx(3 * 3600, abs=60)


async def test_a_federation_with_a_new_journal_is_not_late(tmp_path: Path) -> None:
    async with run_federation(
        ["127.0.0.1:1"], data_dir=tmp_path, federation_interval_secs=HOURLY
    ) as federation:
        fresh, age = await fetch_round_health(federation), scrape_age(federation)
        backdate_publication(federation)
        stale = await fetch_round_health(federation)

    assert fresh.status == pb.HEALTH_STATUS_HEALTHY
    assert fresh.message.startswith("none was published in the 0 seconds")
    assert age < 60
    assert stale.status == pb.HEALTH_STATUS_DEGRADED


async def test_a_clock_that_was_ahead_neither_delays_rounds_nor_hides_their_age(
    tmp_path: Path,
) -> None:
    await make_journal(tmp_path, time.time() + 10 * 24 * 3600)
    async with run_federation(
        ["127.0.0.1:1"], data_dir=tmp_path, federation_interval_secs=Seconds(1)
    ) as federation:
        before = federation.rounds.published_at
        await wait_until(lambda: check_no_quorum(federation))

    assert before is not None
    assert before <= time.time()


async def check_no_quorum(federation: RunningFederation) -> bool:
    """Return whether a round of this process has failed for lack of a quorum."""
    return federation.rounds.stats.rounds[RoundState.NO_QUORUM] > 0


async def test_a_standby_is_never_late(tmp_path: Path) -> None:
    await make_journal(tmp_path, time.time() - 3 * 3600)
    settings = {"data_dir": tmp_path, "federation_interval_secs": HOURLY}
    config = make_federation_config(["127.0.0.1:1"], **settings)
    async with run_federation(["127.0.0.1:1"], **settings) as active, serve(config) as standby:
        assert scrape_age(active) > 3 * 3600
        waiting = await fetch_round_health(standby)
        found = scrape_metrics(standby.ports.metrics)

    assert waiting.status == pb.HEALTH_STATUS_HEALTHY
    assert waiting.message == "no rounds run here: another federation is the active one"
    assert AGE not in found


async def test_a_relay_that_passed_a_global_on_is_not_late() -> None:
    async with run_shards(2) as fleet:
        for shard in fleet:
            await push_devices(shard, [make_drama_device(number) for number in range(6)])
        relaying = run_federation(
            [get_address(each) for each in fleet], relay=True, federation_interval_secs=HOURLY
        )
        async with (
            relaying as relay,
            run_federation([], relay_addrs=[get_address(relay)]) as above,
        ):
            backdate_publication(relay)
            before = await fetch_round_health(relay)

            await run_round(above)

            after = await fetch_round_health(relay)
            found = scrape_metrics(relay.ports.metrics)

    assert before.status == pb.HEALTH_STATUS_DEGRADED
    assert after.status == pb.HEALTH_STATUS_HEALTHY
    assert get_value(found, AGE) < 60
    assert get_value(found, "constellation_federation_rounds_total", status="published") == 1
