from __future__ import annotations

import time

import pytest

from constellation.errors import ConfigError
from constellation.wall_clock import MAX_SECONDS, read_clock, require_plausible_clock
from tests.conftest import run_shard
from tests.federation.fleet import (
    get_address,
    make_drama_device,
    push_devices,
    run_federation,
    run_round,
    run_shards,
)


def test_the_clock_is_read_as_it_is() -> None:
    before = time.time()

    assert before <= read_clock() <= time.time()
    require_plausible_clock()


@pytest.mark.parametrize(("now", "read"), [(2.0**32, MAX_SECONDS), (1e300, MAX_SECONDS), (-5.0, 0)])
def test_a_clock_outside_the_range_of_stored_times_stops_at_its_end_and_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, now: float, read: float
) -> None:
    monkeypatch.setattr(time, "time", lambda: now)

    assert read_clock() == read
    with pytest.raises(ConfigError, match=r"only from 0 to 4294967295 \(2106-02-07\): correct"):
        require_plausible_clock()


async def test_a_round_is_published_although_the_clock_has_left_the_range_of_stored_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with run_shards(2) as fleet:
        for number, shard in enumerate(fleet):
            await push_devices(shard, [make_drama_device(100 * number + each) for each in range(6)])
        async with run_federation([get_address(each) for each in fleet]) as federation:
            monkeypatch.setattr(time, "time", lambda: 2.0**32 + 7)

            made = await run_round(federation)

        assert made.closed_at.seconds == MAX_SECONDS
        published = [each.manager.global_state.published for each in fleet]
        assert [each.clusters.changed_at.max() for each in published if each] == [MAX_SECONDS] * 2


async def test_neither_a_shard_nor_a_federation_starts_with_such_a_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", lambda: 2.0**32 + 7)

    with pytest.raises(ConfigError, match="correct the clock"):
        async with run_shard():
            pass
    with pytest.raises(ConfigError, match="correct the clock"):
        async with run_federation(["127.0.0.1:1"]):
            pass
