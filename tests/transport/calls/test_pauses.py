"""A late wake-up is noticed as a pause of the process, a punctual one is not."""

from __future__ import annotations

import time

import pytest

from constellation.transport.calls.pauses import PauseWatch


async def test_a_process_that_stood_still_notices_for_how_long() -> None:
    watch = PauseWatch(longest_delay=0.1)

    time.sleep(0.3)  # the pause: nothing else runs in this process meanwhile  # noqa: ASYNC251

    assert await watch.sleep(0.01) == pytest.approx(0.3, abs=0.2)


async def test_a_short_delay_is_no_pause() -> None:
    watch = PauseWatch(longest_delay=10)

    assert await watch.sleep(0.01) == 0
