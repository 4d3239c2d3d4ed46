"""Metrics for Prometheus: OpenTelemetry instruments that read the counts of a process.

An instrument is read at each scrape, in a thread of the listener. Counting therefore costs nothing
extra, and no value is stored twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import HistogramMetricFamily

from constellation.telemetry.logs import count_lost_lines
from constellation.telemetry.scrape_server import serve_scrapes

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter

    from constellation.histogram import Histogram

Values = Iterable[tuple[float, Mapping[str, str]]]
"""Pairs of a value and its labels. Label values come from small closed sets."""


class MetricKind(StrEnum):
    """The kind of a metric, in Prometheus's words."""

    COUNTER = "counter"
    """A value that only grows while the process lives."""
    GAUGE = "gauge"
    """A value that may grow and shrink."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that is read at each scrape."""

    name: str
    """The name as it is scraped, without the `_total` of counters."""
    kind: MetricKind
    help: str
    read: Callable[[], Values]


@dataclass(frozen=True, slots=True)
class HistogramMetric:
    """A histogram, or several with different labels, read at each scrape."""

    name: str
    help: str
    label_names: Sequence[str]
    read: Callable[[], Iterable[HistogramSample]]


@dataclass(frozen=True, slots=True)
class HistogramSample:
    """The counts of one histogram."""

    labels: Sequence[str]
    """The values of its labels, in the order of `label_names`."""
    bounds: Sequence[float]
    """The upper bounds of its buckets, ascending."""
    cumulative: Sequence[int]
    """The number of values up to each bound, and at the end the number of all values."""
    total: float
    """The sum of all values."""


def make_reader(read: Callable[[], float | None], **labels: str) -> Callable[[], Values]:
    """Return a reader of a single value with labels; it reads no value while that is None."""

    def read_values() -> Values:
        value = read()
        return [] if value is None else [(value, labels)]

    return read_values


def make_histogram(name: str, text: str, counted: Histogram, **labels: str) -> HistogramMetric:
    """Return a metric that reads one histogram."""
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
    """The metrics that one process shows to Prometheus."""

    def __init__(self, registry: CollectorRegistry, meter: Meter) -> None:
        self.port = 0
        self._registry = registry
        self._meter = meter

    def add(self, metrics: Iterable[Metric], histograms: Iterable[HistogramMetric] = ()) -> None:
        """Add these metrics to every scrape from now on."""
        for metric in metrics:
            _add_instrument(self._meter, metric)
        for histogram in histograms:
            self._registry.register(_HistogramCollector(histogram))


LOST_LINES: Final = Metric(
    "constellation_log_lines_lost",
    MetricKind.COUNTER,
    "Log lines that could not be written.",
    make_reader(count_lost_lines),
)


@contextmanager
def serve_metrics(address: str) -> Iterator[MetricsExporter]:
    """Answer scrapes on `address` until the block is left; at first with metrics of the process.

    Raises ConfigError, naming METRICS_ADDR, when it cannot listen there.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    reader = PrometheusMetricReader(
        disable_target_info=True, scope_info_enabled=False, registry=registry
    )
    # Figures that are read have no exemplars, and a wrong filter in the environment would raise.
    provider = MeterProvider(
        [reader], shutdown_on_exit=False, exemplar_filter=AlwaysOffExemplarFilter()
    )
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
    """A collector of prometheus_client, because OpenTelemetry has no histogram that is read."""

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
