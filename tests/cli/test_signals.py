from __future__ import annotations

import asyncio
import json
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
from constellation.telemetry.logs import set_up_logs

set_up_logs("info")

async def wait_forever():
    signals = StopSignals(lambda: print("first", flush=True))
    signals.set_cut(lambda: {"streams": 7})
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


def test_the_second_signal_says_what_it_cuts_and_ends_the_process_at_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", IGNORE_THE_FIRST_SIGNAL],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "first\n"
        process.send_signal(signal.SIGINT)

        _, log = process.communicate(timeout=5)
        line = json.loads(log)
        assert process.returncode == FAILURE
        assert (line["event"], line["streams"]) == ("stopped_at_once", 7)
