from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from constellation.v1 import federation_pb2
from federation.round_report import Coverage, RoundState, ShardOutcome

if TYPE_CHECKING:
    from enum import IntEnum


@pytest.mark.parametrize(
    ("coverage", "ratio"),
    [
        (Coverage(), 0.0),
        (Coverage(shards_fresh=0, shards_stale=2, devices_total=10), 0.0),
        (Coverage(shards_fresh=2), None),  # shards answered, and have no devices
        (Coverage(1, 1, 2, 3, 4), 0.75),
        (Coverage(2, 0, 2, 4, 4), 1.0),
    ],
)
def test_the_device_ratio_is_that_of_fresh_shards(coverage: Coverage, ratio: float | None) -> None:
    assert coverage.device_ratio == ratio


@pytest.mark.parametrize(
    ("ours", "prefix"), [(RoundState, "ROUND_STATE_"), (ShardOutcome, "SHARD_OUTCOME_")]
)
def test_numbers_are_those_of_the_api(ours: type[IntEnum], prefix: str) -> None:
    for each in ours:
        assert getattr(federation_pb2, prefix + each.name) == each
