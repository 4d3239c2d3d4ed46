from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz.run import MAX_SECONDS, fuzz
from tests.fuzz.targets import open_targets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fuzz.targets import Target

INPUTS = {
    "frame of a device": 1500,
    "global state": 1500,
    "aggregate": 1500,
    "update of a device": 1500,
    "line of an archive": 1500,
    "token": 1500,
    "session of a shard": 1000,
    "session of a device": 200,
    "request over REST": 1500,
    "index snapshot": 500,
    "catalogue of a device": 500,
    "catalogue of a feeder": 1500,
}
SEED = 20_261_128


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Target]]:
    with open_targets(tmp_path_factory.mktemp("fuzz")) as targets:
        yield {each.name: each for each in targets}


def test_every_target_has_a_row_here(targets: dict[str, Target]) -> None:
    assert targets.keys() == INPUTS.keys()


@pytest.mark.parametrize("name", INPUTS)
def test_every_input_is_taken_or_refused(targets: dict[str, Target], name: str) -> None:
    result = fuzz(targets[name], INPUTS[name], SEED)

    assert result.crashes == []
    assert result.inputs == INPUTS[name]
    assert result.taken < INPUTS[name]
    assert result.slowest_seconds < MAX_SECONDS
