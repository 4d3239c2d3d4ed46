"""The metrics of a process's gRPC calls, under the names of go-grpc-prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from constellation.telemetry.metrics import HistogramMetric, HistogramSample, Metric, MetricKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from constellation.histogram import Histogram
    from constellation.telemetry.metrics import Values

_LABELS: Final = ("grpc_type", "grpc_service", "grpc_method")


class MethodCounts(Protocol):
    """What is counted of one method."""

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
    """What is counted of every method."""

    def methods(self) -> Sequence[MethodCounts]: ...


def make_call_metrics(calls: CallCounts) -> list[Metric]:
    """Return how many calls there were, how they ended, and their messages."""

    def counter(name: str, text: str, field: str) -> Metric:
        def read() -> Values:
            return [(getattr(each, field), _labels(each)) for each in calls.methods()]

        return Metric(f"grpc_server_{name}", MetricKind.COUNTER, text, read)

    return [
        counter("started", "Calls that began.", "started"),
        counter("msg_received", "Messages of clients.", "received"),
        counter("msg_sent", "Messages to clients.", "sent"),
        Metric(
            "grpc_server_handled",
            MetricKind.COUNTER,
            "Calls that ended, by their status.",
            lambda: [
                (count, {**_labels(each), "grpc_code": code})
                for each in calls.methods()
                for code, count in list(each.handled.items())
            ],
        ),
    ]


def make_call_histograms(calls: CallCounts) -> list[HistogramMetric]:
    """Return how long unary calls took."""

    def read() -> Iterable[HistogramSample]:
        for each in calls.methods():
            if each.kind == "unary":
                yield HistogramSample(
                    list(_labels(each).values()),
                    each.seconds.bounds,
                    each.seconds.cumulative(),
                    each.seconds.total,
                )

    return [
        HistogramMetric("grpc_server_handling_seconds", "How long unary calls took.", _LABELS, read)
    ]


def _labels(each: MethodCounts) -> dict[str, str]:
    return dict(zip(_LABELS, (str(each.kind), each.service, each.method), strict=True))
