"""What each figure should reach, and whether it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from benchmarks.report import Row

Column = Literal["ratio", "value"]


@dataclass(frozen=True, slots=True)
class Reach:
    """The bound of one figure."""

    column: Column
    bound: float
    is_least: bool
    """Whether the bound is the lowest that is good enough; else it is the highest."""

    def is_met(self, row: Row) -> bool:
        """Return whether a row of the report keeps the bound."""
        figure: float = row[self.column]
        return figure >= self.bound if self.is_least else figure <= self.bound

    def describe(self, unit: str) -> str:
        """Return the bound for people, such as "≥ 0.7" or "≤ 400 us"."""
        sign = "≥" if self.is_least else "≤"
        return f"{sign} {self.bound:g}" + (f" {unit}" if self.column == "value" and unit else "")


def _ratio_of_at_least(bound: float) -> Reach:
    return Reach("ratio", bound, is_least=True)


def _ratio_of_at_most(bound: float) -> Reach:
    return Reach("ratio", bound, is_least=False)


def _value_of_at_most(bound: float) -> Reach:
    return Reach("value", bound, is_least=False)


REACH: Final[dict[str, Reach]] = {
    "ingest_vs_echo": _ratio_of_at_least(0.7),
    "ingest_postgres_vs_sqlite": _ratio_of_at_least(0.9),
    "ingest_secure_vs_insecure": _ratio_of_at_least(0.9),
    "ingest_liked_vs_without": _ratio_of_at_least(0.95),
    "ingest_liked_vs_without_postgres": _ratio_of_at_least(0.95),
    "ingest_grouping_vs_without": _ratio_of_at_least(0.95),
    "ingest_with_aggregates_vs_without": _ratio_of_at_least(0.9),
    "ingest_telemetry_on_vs_off": _ratio_of_at_least(0.95),
    "whole_sync_server_cpu_us": _value_of_at_most(400),
    "whole_sync_1m_server_cpu_us": _value_of_at_most(600),
    "sync_vs_reference_sql": _ratio_of_at_least(20),
    "sync_p99_ms_half_load": _value_of_at_most(100),
    "delta_vs_reference_sql": _ratio_of_at_least(50),
    "stream_memory_vs_bare": _ratio_of_at_most(1.3),
    "connects_per_second_vs_bare": _ratio_of_at_least(0.6),
    "reconnect_vs_bare": _ratio_of_at_most(2),
    "fanout_vs_bare": _ratio_of_at_most(2),
    "search_vs_best_peer": _ratio_of_at_least(1),
    "search_vs_best_peer_1m": _ratio_of_at_least(1),
    "search_vs_best_database": _ratio_of_at_least(5),
    "epoch_loop_delay": _value_of_at_most(20),
    "group_bytes_per_pattern": _value_of_at_most(64),
    "restart_1m_seconds_sqlite": _value_of_at_most(4),
    "restart_1m_seconds_postgres": _value_of_at_most(8),
    "federation_merge_vs_numpy": _ratio_of_at_least(1),
    "federation_round_seconds": _value_of_at_most(6),
    "federation_next_round_seconds": _value_of_at_most(3),
    "recommend_p99_10k": _value_of_at_most(5),
    "recommend_p99_17k": _value_of_at_most(5),
    "recommend_p99_100k": _value_of_at_most(15),
}
"""By name of a figure. Others are only reported."""
