"""Memory of idle streams, compared with a bare grpcio server that holds as many; then 50,000."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.processes import read_resident_bytes
from benchmarks.report import compare
from benchmarks.stream_runs import open_streams, start_stream_server
from benchmarks.turns import Run, compare_runs, take_turns

if TYPE_CHECKING:
    from benchmarks.report import Measurement

_STREAMS: Final = 20_000
_MOST: Final = 50_000
"""The default of MAX_STREAMS."""
_STREAMS_OF_A_CONNECTION: Final = 200
"""As many as a proxy might send through one connection: neither memory nor time is for sockets."""
_TURNS: Final = 2


def measure() -> list[Measurement]:
    """Measure both servers in turns, then a shard with as many streams as it admits."""
    sides = {
        "bare": partial(_measure_bytes, _STREAMS, is_bare=True),
        "shard": partial(_measure_bytes, _STREAMS, is_bare=False),
    }
    results = take_turns(sides, _TURNS)
    line = compare_runs(
        "stream_memory_vs_bare",
        "bytes",
        results["shard"],
        f"bare grpcio, {_STREAMS:,} streams",
        results["bare"],
    )
    most = _measure_bytes(_MOST, is_bare=False)
    return [
        line,
        compare(
            "stream_memory_50k",
            most.value,
            "bytes",
            f"the same with {_STREAMS:,} streams",
            line.value,
        ),
    ]


def _measure_bytes(streams: int, *, is_bare: bool) -> Run:
    """Return the memory of an idle stream, once all are open."""
    with start_stream_server(is_bare=is_bare) as server:
        before = read_resident_bytes(server.process.pid)
        with open_streams(server.port, streams, streams // _STREAMS_OF_A_CONNECTION) as load:
            load.wait("opened")
            used = read_resident_bytes(server.process.pid) - before
            return Run(used / streams)
