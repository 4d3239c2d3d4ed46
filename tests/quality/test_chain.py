"""The short form of `make quality`: recommendations must not get worse."""

from __future__ import annotations

import pytest

from quality.chain import run_short
from quality.figures import load_short
from quality.short import SHORT_SPLIT, TOLERANCE, select_short


@pytest.mark.timeout(180)
async def test_recommendations_are_as_good_as_the_committed_figures() -> None:
    """Run `python -m quality short` to renew them, when a change is meant to move them."""
    committed = load_short()
    households = select_short()
    assert (committed.households, committed.split) == (len(households), SHORT_SPLIT)

    run = await run_short(households)

    lowest = committed.find_lowest()
    assert run.with_everything >= lowest.with_everything * (1 - TOLERANCE)
    assert run.new_device >= lowest.new_device * (1 - TOLERANCE)
