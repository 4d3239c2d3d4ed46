"""Reading the metrics of a process, as Prometheus does."""

from __future__ import annotations

import urllib.request

DEADLINE_SECONDS = 5


def scrape_text(port: int) -> str:
    """Return the metrics that a process on this machine serves, in Prometheus' text format."""
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}/metrics", timeout=DEADLINE_SECONDS
    ) as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=")
        text: str = answer.read().decode()
    return text
