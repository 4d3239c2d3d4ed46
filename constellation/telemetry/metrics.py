"""Metrics: OpenTelemetry instruments that read what a process counts, scraped by Prometheus.

An instrument is read when somebody scrapes, in a thread of the listener: what is counted costs
nothing beside the counting, and no value is kept twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import HistogramMetricFamily

from constellation.core.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter

Values = Iterable[tuple[float, Mapping[str, str]]]
"""Values with their labels, which come from small closed sets."""


class Kind(StrEnum):
    """What Prometheus may do with a metric."""

    COUNTER = "counter"
    """It only grows while the process lives."""
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    """As it is scraped, without the `_total` of counters."""
    kind: Kind
    help: str
    read: Callable[[], Values]


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram that is counted elsewhere, many observations at a time."""

    name: str
    help: str
    read: Callable[[], tuple[list[tuple[str, float]], float]]
    """Returns cumulative counts by upper bound, "+Inf" last, and the sum of what was observed."""
    labels: Mapping[str, str]


def one(read: Callable[[], float], **labels: str) -> Callable[[], Values]:
    """Return what reads a single value."""
    return lambda: [(read(), labels)]


@contextmanager
def metrics_served(
    address: str, metrics: Iterable[Metric], histograms: Iterable[Buckets] = ()
) -> Iterator[int]:
    """Answer scrapes at METRICS_ADDR until the block is left; yields the port.

    Raises ConfigError when that address cannot be listened at.
    """
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(
        disable_target_info=True, scope_info_enabled=False, registry=registry
    )
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter("constellation")
    for metric in metrics:
        _observe(meter, metric)
    for histogram in histograms:
        registry.register(_Histogram(histogram))
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        provider.shutdown()
        raise ConfigError(
            f"METRICS_ADDR: cannot listen on {address}: {error.strerror or error}"
        ) from error
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        provider.shutdown()


def _observe(meter: Meter, metric: Metric) -> None:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, dict(labels)) for value, labels in metric.read()]

    create = {
        Kind.COUNTER: meter.create_observable_counter,
        Kind.GAUGE: meter.create_observable_gauge,
    }[metric.kind]
    create(metric.name, [observe], description=metric.help)


class _Histogram:
    """What prometheus_client collects; OpenTelemetry has no histogram that is read."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets

    def collect(self) -> Iterator[Any]:
        family = HistogramMetricFamily(
            self._buckets.name, self._buckets.help, labels=list(self._buckets.labels)
        )
        counts, total = self._buckets.read()
        family.add_metric(list(self._buckets.labels.values()), counts, total)
        yield family
