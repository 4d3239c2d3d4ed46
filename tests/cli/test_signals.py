from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from constellation.cli.exit_codes import FAILURE
from constellation.cli.signals import StopSignals

IGNORE_THE_FIRST_SIGNAL = """
import asyncio
from constellation.cli.signals import StopSignals

async def wait_forever():
    StopSignals(lambda: print("first", flush=True))
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(wait_forever())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_calls_the_newest_action(number: signal.Signals) -> None:
    first, newest = asyncio.Event(), asyncio.Event()
    signals = StopSignals(first.set)
    signals.set_action(newest.set)

    os.kill(os.getpid(), number)

    async with asyncio.timeout(5):
        await newest.wait()
    assert signals.was_received
    assert not first.is_set()


def test_the_second_signal_ends_the_process_at_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", IGNORE_THE_FIRST_SIGNAL], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "first\n"
        process.send_signal(signal.SIGINT)

        assert process.wait(5) == FAILURE
