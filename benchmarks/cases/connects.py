"""Devices that connect in a second, each on a connection of its own, compared with bare grpcio."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.processes import read_cpu_seconds
from benchmarks.stream_runs import open_streams, start_stream_server
from benchmarks.turns import Run, compare_runs, take_turns

if TYPE_CHECKING:
    from benchmarks.report import Measurement

_DEVICES: Final = 3000
_TURNS: Final = 5


def measure() -> list[Measurement]:
    """Measure how fast devices are welcomed, in turns."""
    sides = {
        "bare": partial(_measure_connects, is_bare=True),
        "shard": partial(_measure_connects, is_bare=False),
    }
    results = take_turns(sides, _TURNS)
    return [
        compare_runs(
            "connects_per_second_vs_bare",
            "devices/s",
            results["shard"],
            "bare grpcio",
            results["bare"],
        )
    ]


def _measure_connects(*, is_bare: bool) -> Run:
    with start_stream_server(is_bare=is_bare) as server:
        before = read_cpu_seconds(server.process.pid)
        with open_streams(server.port, _DEVICES, connections=_DEVICES) as load:
            opened = load.wait("opened")
            server_seconds = read_cpu_seconds(server.process.pid) - before
    return Run(
        _DEVICES / (opened.at - load.started_at),
        {
            "server": server_seconds / _DEVICES * 1e6,
            "load": opened.cpu_seconds / _DEVICES * 1e6,
        },
    )
