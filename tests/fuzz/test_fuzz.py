from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz.run import MAX_SECONDS, fuzz
from tests.fuzz.targets import make_targets

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

INPUTS = 1500
SEED = 20_261_128


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return {each.name: each for each in make_targets(tmp_path_factory.mktemp("fuzz"))}


@pytest.mark.parametrize(
    "name",
    [
        "frame of a device",
        "global state",
        "aggregate",
        "update of a device",
        "line of an archive",
        "token",
    ],
)
def test_every_input_is_taken_or_refused(targets: dict[str, Target], name: str) -> None:
    result = fuzz(targets[name], INPUTS, SEED)

    assert result.crashes == []
    assert result.inputs == INPUTS
    assert result.taken < INPUTS
    assert result.slowest_seconds < MAX_SECONDS
    assert len(targets) == 6
