"""Metrics: OpenTelemetry instruments that read what a process counts, scraped by Prometheus.

An instrument is read when somebody scrapes, in a thread of the listener: what is counted costs
nothing beside the counting, and no value is kept twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import HistogramMetricFamily

from constellation.telemetry.logs import count_lost_lines
from constellation.telemetry.scrape_server import serve_scrapes

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter

    from constellation.histogram import Histogram

Values = Iterable[tuple[float, Mapping[str, str]]]
"""Values with their labels, which come from small closed sets."""


class MetricKind(StrEnum):
    """What Prometheus may do with a metric."""

    COUNTER = "counter"
    """It only grows while the process lives."""
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    """As it is scraped, without the `_total` of counters."""
    kind: MetricKind
    help: str
    read: Callable[[], Values]


@dataclass(frozen=True, slots=True)
class HistogramMetric:
    """A histogram, or several that differ in their labels, counted elsewhere."""

    name: str
    help: str
    label_names: Sequence[str]
    read: Callable[[], Iterable[HistogramSample]]


@dataclass(frozen=True, slots=True)
class HistogramSample:
    """One histogram's counts."""

    labels: Sequence[str]
    """One for each of `label_names`."""
    bounds: Sequence[float]
    cumulative: Sequence[int]
    """Values up to each bound, then all of them."""
    total: float
    """Sum of the values."""


def make_reader(read: Callable[[], float | None], **labels: str) -> Callable[[], Values]:
    """Return what reads a single value, which is not there while it is None."""

    def read_values() -> Values:
        value = read()
        return [] if value is None else [(value, labels)]

    return read_values


def make_histogram(name: str, text: str, counted: Histogram, **labels: str) -> HistogramMetric:
    """Return one histogram as it is scraped."""
    return HistogramMetric(
        name,
        text,
        list(labels),
        lambda: [
            HistogramSample(
                list(labels.values()), counted.bounds, counted.cumulative(), counted.total
            )
        ],
    )


class MetricsExporter:
    """What one process tells Prometheus."""

    def __init__(self, registry: CollectorRegistry, meter: Meter) -> None:
        self.port = 0
        self._registry = registry
        self._meter = meter

    def add(self, metrics: Iterable[Metric], histograms: Iterable[HistogramMetric] = ()) -> None:
        """Answer scrapes with these, too."""
        for metric in metrics:
            _add_instrument(self._meter, metric)
        for each in histograms:
            self._registry.register(_HistogramCollector(each))


LOST_LINES: Final = Metric(
    "constellation_log_lines_lost",
    MetricKind.COUNTER,
    "Log lines that could not be written.",
    make_reader(count_lost_lines),
)


@contextmanager
def serve_metrics(address: str) -> Iterator[MetricsExporter]:
    """Answer scrapes at METRICS_ADDR until the block is left: so far, about the process itself.

    Raises ConfigError when that address cannot be listened at.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    reader = PrometheusMetricReader(
        disable_target_info=True, scope_info_enabled=False, registry=registry
    )
    provider = MeterProvider([reader], shutdown_on_exit=False)
    metrics = MetricsExporter(registry, provider.get_meter("constellation"))
    metrics.add([LOST_LINES])
    try:
        with serve_scrapes(address, registry) as metrics.port:
            yield metrics
    finally:
        provider.shutdown()


def _add_instrument(meter: Meter, metric: Metric) -> None:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, dict(labels)) for value, labels in metric.read()]

    create = {
        MetricKind.COUNTER: meter.create_observable_counter,
        MetricKind.GAUGE: meter.create_observable_gauge,
    }[metric.kind]
    create(metric.name, [observe], description=metric.help)


class _HistogramCollector:
    """What prometheus_client collects; OpenTelemetry has no histogram that is read."""

    def __init__(self, metric: HistogramMetric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Any]:
        family = HistogramMetricFamily(
            self._metric.name, self._metric.help, labels=list(self._metric.label_names)
        )
        for sample in self._metric.read():
            bounds = [f"{bound:g}" for bound in sample.bounds] + ["+Inf"]
            counts = list(zip(bounds, sample.cumulative, strict=True))
            family.add_metric(list(sample.labels), counts, sample.total)
        yield family
