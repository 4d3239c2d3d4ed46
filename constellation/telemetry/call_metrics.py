"""The metrics of a process's gRPC calls, under the names of go-grpc-prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from constellation.telemetry.metrics import (
    HistogramMetric,
    HistogramSample,
    Metric,
    MetricKind,
    make_reader,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from constellation.histogram import Histogram
    from constellation.telemetry.metrics import Values

_LABELS: Final = ("grpc_type", "grpc_service", "grpc_method")


class MethodCounts(Protocol):
    """The counts of one method, as these metrics need them."""

    method: str
    service: str
    started: int
    received: int
    sent: int
    seconds: Histogram

    @property
    def kind(self) -> str: ...

    @property
    def handled(self) -> Mapping[str, int]: ...


class CallCounts(Protocol):
    """The counts of every method."""

    def methods(self) -> Sequence[MethodCounts]:
        """Return the counts of every method that was called."""
        ...


def make_call_metrics(calls: CallCounts) -> list[Metric]:
    """Return the metrics of calls that began and ended, and of their messages."""

    def counter(name: str, text: str, field: str) -> Metric:
        def read() -> Values:
            return [(getattr(method, field), _labels(method)) for method in calls.methods()]

        return Metric(f"grpc_server_{name}", MetricKind.COUNTER, text, read)

    return [
        counter("started", "Calls that began.", "started"),
        counter("msg_received", "Messages received from clients.", "received"),
        counter("msg_sent", "Messages sent to clients.", "sent"),
        Metric(
            "grpc_server_handled",
            MetricKind.COUNTER,
            "Calls that ended, by status.",
            lambda: [
                (count, {**_labels(method), "grpc_code": code})
                for method in calls.methods()
                for code, count in list(method.handled.items())
            ],
        ),
    ]


def make_call_histograms(calls: CallCounts) -> list[HistogramMetric]:
    """Return the histogram of the durations of unary calls."""

    def read() -> Iterable[HistogramSample]:
        for method in calls.methods():
            if method.kind == "unary":
                yield HistogramSample(
                    list(_labels(method).values()),
                    method.seconds.bounds,
                    method.seconds.cumulative(),
                    method.seconds.total,
                )

    return [
        HistogramMetric("grpc_server_handling_seconds", "Duration of unary calls.", _LABELS, read)
    ]


def _labels(method: MethodCounts) -> dict[str, str]:
    return dict(zip(_LABELS, (str(method.kind), method.service, method.method), strict=True))


def make_certificate_metric(read_expiry: Callable[[], float | None]) -> Metric:
    """Return the metric of when the certificate in use expires; it has no value without one."""
    text = "When the certificate of TLS_CERT that is in use expires, in seconds since 1970."
    name = "constellation_certificate_expires_timestamp_seconds"
    return Metric(name, MetricKind.GAUGE, text, make_reader(read_expiry))
