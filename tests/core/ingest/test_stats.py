from __future__ import annotations

import pytest

from constellation.core.ingest.stats import WINDOW_SECONDS, Stats


def test_latency_is_measured_over_the_last_minute() -> None:
    stats = Stats()
    stats.record_durable([0.0] * 99, now=0.010)
    stats.record_durable([10.0], now=11.0)

    latency = stats.latency(now=12.0)

    assert latency is not None
    assert latency.count == 100
    assert latency.mean_seconds == pytest.approx((99 * 0.010 + 1.0) / 100)
    assert latency.p99_seconds == pytest.approx(0.010, rel=0.07)


def test_an_old_minute_is_forgotten() -> None:
    stats = Stats()
    stats.record_durable([0.0], now=0.5)

    assert stats.latency(now=2 * WINDOW_SECONDS) is None
