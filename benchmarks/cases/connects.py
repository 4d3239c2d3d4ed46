"""Devices that connect in a second, each on a connection of its own, compared with bare grpcio."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.processes import measure_cpu, read_resident_bytes
from benchmarks.stream_runs import open_streams, start_stream_server
from benchmarks.turns import Run, compare_runs, take_turns

if TYPE_CHECKING:
    from benchmarks.report import Measurement

_DEVICES: Final = 3000
_TURNS: Final = 5


def measure() -> list[Measurement]:
    """Measure how fast devices are welcomed, and what they then take of memory, in turns."""
    sides = {
        "bare": partial(_measure_connects, is_bare=True),
        "shard": partial(_measure_connects, is_bare=False),
    }
    results = take_turns(sides, _TURNS)
    (rates, memory), (bare_rates, bare_memory) = (
        zip(*results[side], strict=True) for side in ("shard", "bare")
    )
    baseline = "bare grpcio"
    return [
        compare_runs("connects_per_second_vs_bare", "devices/s", rates, baseline, bare_rates),
        compare_runs("connection_memory_vs_bare", "bytes", memory, baseline, bare_memory),
    ]


def _measure_connects(*, is_bare: bool) -> tuple[Run, Run]:
    """Return the devices that are welcomed in a second, and the bytes that each takes."""
    with start_stream_server(is_bare=is_bare) as server:
        pid, memory_before = server.process.pid, read_resident_bytes(server.process.pid)
        with (
            measure_cpu(pid) as connecting,
            open_streams(server.port, _DEVICES, connections=_DEVICES) as load,
        ):
            opened = load.wait("opened")
            cpu_us = {
                "server": connecting.read() / _DEVICES * 1e6,
                "load": opened.cpu_seconds / _DEVICES * 1e6,
            }
            memory = read_resident_bytes(pid) - memory_before
    return Run(_DEVICES / (opened.at - load.started_at), cpu_us), Run(memory / _DEVICES)
