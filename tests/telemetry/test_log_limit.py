from __future__ import annotations

import logging

import pytest
import structlog

from constellation.telemetry.log_limit import BURST, RATE_PER_SECOND, LogLimit


def test_a_burst_passes_and_what_is_beyond_is_dropped() -> None:
    limit = LogLimit(lambda: 0.0)

    for _ in range(BURST):
        limit(None, "warning", {"event": "request_malformed"})

    with pytest.raises(structlog.DropEvent):
        limit(None, "warning", {"event": "request_malformed"})


def test_another_event_is_not_held_back() -> None:
    limit = LogLimit(lambda: 0.0)
    for _ in range(BURST):
        limit(None, "warning", {"event": "request_malformed"})

    assert limit(None, "info", {"event": "shard_started"}) == {"event": "shard_started"}


def test_the_next_line_says_how_many_were_dropped() -> None:
    now = 0.0
    limit = LogLimit(lambda: now)
    for _ in range(BURST):
        limit(None, "warning", {"event": "request_malformed"})
    for _ in range(3):
        with pytest.raises(structlog.DropEvent):
            limit(None, "warning", {"event": "request_malformed"})

    now = 1 / RATE_PER_SECOND

    assert limit(None, "warning", {"event": "request_malformed"})["suppressed"] == 3
    now += 1 / RATE_PER_SECOND
    assert "suppressed" not in limit(None, "warning", {"event": "request_malformed"})


def test_lines_of_a_library_are_counted_by_their_format() -> None:
    limit = LogLimit(lambda: 0.0)

    def make_record(number: int) -> logging.LogRecord:
        return logging.LogRecord("uvicorn", 30, "", 0, "bad request from %s", (number,), None)

    passed = [limit.filter(make_record(number)) for number in range(BURST + 1)]

    assert passed == [True] * BURST + [False]
