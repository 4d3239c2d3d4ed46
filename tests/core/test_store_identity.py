"""A store adopts the first process that opens it, and refuses every other one."""

from __future__ import annotations

import pytest

from constellation.core.store_identity import StoreIdentity
from constellation.encoding import DIMENSION
from constellation.errors import ConfigError

NORTH = StoreIdentity(3, "north", DIMENSION)


def test_a_new_store_belongs_to_the_first_process() -> None:
    assert StoreIdentity().adopt(NORTH, "here") == NORTH


def test_a_command_that_needs_no_region_fits_any() -> None:
    assert NORTH.adopt(StoreIdentity.of_process(3), "here") == NORTH


def test_a_region_is_adopted_once_a_process_says_it() -> None:
    without = StoreIdentity.of_process(3)

    assert without.adopt(NORTH, "here").region == "north"


def test_every_difference_is_named_together_with_the_setting_to_change() -> None:
    with pytest.raises(ConfigError) as refused:
        NORTH.adopt(StoreIdentity(4, "south", 8), "/data/shard")

    message = str(refused.value)
    assert "/data/shard belongs to shard 3, SHARD_ID is 4" in message
    assert "belongs to region north, REGION is south" in message
    assert f"belongs to dimension {DIMENSION}, the dimension of this program is 8" in message
