"""Seconds until 5,000 devices are back after their server was killed, compared with bare grpcio."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.stream_runs import open_streams, start_stream_server
from benchmarks.turns import Run, compare_runs, take_turns
from testing.ports import find_free_port

if TYPE_CHECKING:
    from benchmarks.report import Measurement

_DEVICES: Final = 5000
_TURNS: Final = 3


def measure() -> list[Measurement]:
    """Kill each server and start it again on its port, in turns."""
    sides = {
        "bare": partial(_measure_return, is_bare=True),
        "shard": partial(_measure_return, is_bare=False),
    }
    results = take_turns(sides, _TURNS)
    baseline = f"bare grpcio, {_DEVICES:,} devices"
    return [compare_runs("reconnect_vs_bare", "s", results["shard"], baseline, results["bare"])]


def _measure_return(*, is_bare: bool) -> Run:
    """Return the seconds from when the server serves again until it has welcomed every device.

    Each device has a connection of its own, and tries again after at most a second.
    """
    port = find_free_port()
    with (
        start_stream_server(is_bare=is_bare, port=port) as server,
        open_streams(port, _DEVICES, connections=_DEVICES) as devices,
    ):
        devices.wait("opened")
        server.process.kill()
        server.process.wait()
        with start_stream_server(is_bare=is_bare, port=port):
            serving_at = time.monotonic()
            return Run(devices.wait("opened").at - serving_at)
