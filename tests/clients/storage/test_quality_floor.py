from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from constellation_settop import Outbox

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("asked", "followed"), [(0.0, 0.7), (0.5, 0.7), (0.7, 0.7), (0.9, 0.9), (1.0, 1.0)]
)
def test_a_shard_may_raise_the_threshold_and_never_lower_it(
    tmp_path: Path, asked: float, followed: float
) -> None:
    path = tmp_path / "device.sqlite"
    with Outbox.open(path) as outbox:
        outbox.apply_rules(quality_threshold=asked, patterns_per_delta=64)

        assert outbox.quality_threshold == followed

    with Outbox.open(path) as outbox:
        assert outbox.quality_threshold == followed


def test_a_device_with_a_higher_floor_does_not_follow_what_its_file_says(tmp_path: Path) -> None:
    path = tmp_path / "device.sqlite"
    with Outbox.open(path) as outbox:
        outbox.apply_rules(quality_threshold=0.7, patterns_per_delta=64)

    with Outbox.open(path, quality_floor=0.95) as outbox:
        assert outbox.quality_threshold == 0.95


def test_a_threshold_that_was_raised_may_come_down_again_to_the_floor(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "device.sqlite") as outbox:
        outbox.apply_rules(quality_threshold=0.9, patterns_per_delta=64)
        outbox.apply_rules(quality_threshold=0.2, patterns_per_delta=64)

        assert outbox.quality_threshold == 0.7
