"""Search among a million shared patterns, compared with hnswlib, the fastest peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.search_runs import compare_with_peers

if TYPE_CHECKING:
    from benchmarks.report import Measurement

_PATTERNS: Final = 1_000_000


def measure() -> list[Measurement]:
    """Return queries for each second of processor time. Databases would build for too long."""
    return compare_with_peers(_PATTERNS, ["hnswlib"], "", "_1m")
