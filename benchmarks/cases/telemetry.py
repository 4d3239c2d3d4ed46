"""Durable syncs per second of a shard with full telemetry, and of one without any."""

from __future__ import annotations

import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from benchmarks.delta_runs import SETTINGS, compare_syncs, run_delta_load
from benchmarks.shard_process import make_folder, start_shard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.delta_load import DeltaLoadResult
    from benchmarks.report import Measurement

_ROUNDS: Final = 5
_SCRAPE_SECONDS: Final = 5.0
"""Three times as often as in deploy/prometheus/prometheus.yml."""
_SAMPLER: Final = {
    "otel_traces_sampler": "parentbased_traceidratio",
    "otel_traces_sampler_arg": "0.01",  # as the Helm chart has it
}


def measure() -> list[Measurement]:
    """Compare a shard that is scraped and traced with one whose telemetry is cut out."""
    with _start_collector() as address:
        traced = {"otel_exporter_otlp_endpoint": f"http://{address}", **_SAMPLER}
        return [
            compare_syncs(
                "ingest_telemetry_on_vs_off",
                "the same with telemetry cut out",
                _ROUNDS,
                (
                    partial(_measure_side, "constellation", **traced),
                    partial(_measure_side, "benchmarks.without_telemetry"),
                ),
            )
        ]


def _measure_side(module: str, **settings: object) -> DeltaLoadResult:
    with (
        make_folder() as data_dir,
        start_shard(module, data_dir=data_dir, **SETTINGS, **settings) as started,
        _scrape_repeatedly(int(started.event["metrics_port"]) if settings else None),
    ):
        return run_delta_load(started.server)


@contextmanager
def _scrape_repeatedly(port: int | None) -> Iterator[None]:
    """Scrape a shard repeatedly during the block, as Prometheus does; not without a port."""
    is_over = threading.Event()

    def scrape() -> int:
        scrapes = 0
        while port is not None and not is_over.wait(_SCRAPE_SECONDS if scrapes else 0):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
                scrapes += len(response.read()) > 0
        return scrapes

    with ThreadPoolExecutor(1) as threads:
        scraping = threads.submit(scrape)
        try:
            yield
        finally:
            is_over.set()
        assert port is None or scraping.result() > 0


@contextmanager
def _start_collector() -> Iterator[str]:
    """Accept spans as an OpenTelemetry collector does, and drop them; yield its address."""

    class Collector(TraceServiceServicer):
        def Export(self, _: Any, __: Any) -> Any:  # noqa: N802 - the name in OTLP
            return pb.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    add_to: Any = add_TraceServiceServicer_to_server
    add_to(Collector(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)
