from __future__ import annotations

import math

import pytest

from constellation.core.table.contributors import EVERY_DEVICE, ContributorSample
from tests.deltas import device_id

DEVICES = [device_id(number) for number in range(4000)]


def choose(sample: ContributorSample) -> set[bytes]:
    return {device for device in DEVICES if sample.contains(device)}


@pytest.mark.parametrize("share", [0.025, 0.5])
def test_about_the_share_of_the_devices_contributes(share: float) -> None:
    sample = ContributorSample(b"s" * 32, share)

    count = len(choose(sample))

    assert abs(count - 4000 * share) < 5 * math.sqrt(4000 * share * (1 - share))


def test_a_larger_share_contains_a_smaller_one_and_stores_differ() -> None:
    small, large = ContributorSample(b"s" * 32, 0.1), ContributorSample(b"s" * 32, 0.4)
    other = ContributorSample(b"t" * 32, 0.1)

    chosen = choose(small)

    assert chosen < choose(large)
    assert len(chosen & choose(other)) < len(chosen) / 2


def test_of_a_share_of_0_nobody_and_of_1_everybody_contributes() -> None:
    assert choose(ContributorSample(b"s" * 32, 0.0)) == set()
    assert choose(ContributorSample(b"s" * 32, 1.0)) == set(DEVICES)
    assert choose(EVERY_DEVICE) == set(DEVICES)
