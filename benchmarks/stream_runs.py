"""Runs of the load of streams against a shard or a bare server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from benchmarks.server_process import start_server
from benchmarks.shard_process import start_shard
from benchmarks.stream_load import StreamEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.server_process import StartedServer

SETTINGS: Final[dict[str, int]] = {
    "heartbeat_seconds": 3600,  # the devices are idle
    "global_min_interval_seconds": 0,
    "global_interval_seconds": 3600,  # updates are those of a published global alone
}


class OpenStreams:
    """A running load of streams."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.started_at = time.monotonic()

    def wait(self, kind: str, since: float = 0.0) -> StreamEvent:
        """Return the next event of this kind, from this time of `time.monotonic` on.

        Raises RuntimeError when the load has ended.
        """
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = StreamEvent(**json.loads(line))
            if event.kind == kind and event.at >= since:
                return event
        raise RuntimeError(f"the streams ended before all were {kind}")


@contextmanager
def open_streams(port: int, streams: int, connections: int) -> Iterator[OpenStreams]:
    """Keep streams open during the block. It begins before they are open."""
    arguments = map(str, (port, streams, connections))
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.stream_load", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield OpenStreams(process)
        finally:
            process.kill()


@contextmanager
def start_stream_server(*, is_bare: bool, port: int = 0) -> Iterator[StartedServer]:
    """Run a shard that keeps everything in memory, or a bare server, during the block.

    It listens on this port of 127.0.0.1; 0: on a free one.
    """
    if is_bare:
        with start_server("bare_streams", str(port)) as server:
            yield server
    else:
        with start_shard(grpc_addr=f"127.0.0.1:{port}", **SETTINGS) as started:
            yield started.server
