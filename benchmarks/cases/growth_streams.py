"""How the cost of a stream grows with the number of open streams, from 100 to 50,000."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.exponents import measure_exponent
from benchmarks.processes import measure_cpu, read_resident_bytes
from benchmarks.report import compare
from benchmarks.stream_runs import open_streams, start_stream_server

if TYPE_CHECKING:
    from benchmarks.report import Measurement

_SIZES: Final = (100, 1000, 10_000, 50_000)
_STREAMS_OF_A_CONNECTION: Final = 200


def measure() -> list[Measurement]:
    """Open each number of streams of a shard, over few connections."""
    costs = [_measure_size(size) for size in _SIZES]
    lines = []
    for position, (figure, unit) in enumerate((("connect_us", "us"), ("stream_bytes", "bytes"))):
        values = [cost[position] for cost in costs]
        lines += [
            compare(f"growth_{figure}_{size}", value, unit, "with 100 streams", values[0])
            for size, value in zip(_SIZES, values, strict=True)
        ]
        lines.append(measure_exponent(f"growth_{figure}", _SIZES, values))
    return lines


def _measure_size(streams: int) -> tuple[float, float]:
    """Return the microseconds to open a stream, and the bytes to hold it."""
    connections = max(1, streams // _STREAMS_OF_A_CONNECTION)
    with start_stream_server(is_bare=False) as server:
        pid, before = server.process.pid, read_resident_bytes(server.process.pid)
        with (
            measure_cpu(pid) as connecting,
            open_streams(server.port, streams, connections) as devices,
        ):
            devices.wait("opened")
            seconds, memory = connecting.read(), read_resident_bytes(pid) - before
    return seconds / streams * 1e6, memory / streams
