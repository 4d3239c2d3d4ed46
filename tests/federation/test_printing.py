from __future__ import annotations

import io

from rich.console import Console

from constellation.v1 import aggregates_pb2, patterns_pb2
from constellation.v1 import federation_pb2 as pb
from federation.printing import compute_coverage, format_coverage, format_state, print_round

COVERAGE = aggregates_pb2.Coverage(
    shards_fresh=2, shards_stale=1, shards_total=4, devices_fresh=1500, devices_total=2000
)


def test_coverage_counts_fresh_and_stale_shards_and_devices() -> None:
    assert format_coverage(pb.Round(coverage=COVERAGE)) == (
        "2 of 4 shards fresh, 1 stale; 1,500 of 2,000 devices (75%)"
    )


def test_the_coverage_of_no_devices_is_zero() -> None:
    assert compute_coverage(aggregates_pb2.Coverage()) == 0


def test_every_state_has_words_of_its_own() -> None:
    states = {format_state(state) for name, state in pb.RoundState.items() if state}

    assert len(states) == len(pb.RoundState.items()) - 1
    assert "unknown" not in states


def test_a_round_is_printed_with_its_shards_and_trends() -> None:
    report = pb.Round(
        round_id=7,
        state=pb.ROUND_STATE_PUBLISHED,
        coverage=COVERAGE,
        shards=[
            pb.RoundShard(
                address="host:1",
                outcome=pb.SHARD_OUTCOME_STALE,
                devices=900,
                publish_problem="[timed out]",
            )
        ],
        trends=[
            patterns_pb2.Trend(
                genre="Drama",
                score=6.7,
                direction=patterns_pb2.TREND_DIRECTION_FALLING,
                region="north",
            )
        ],
    )
    console = Console(file=io.StringIO(), width=200)

    print_round(console, report)

    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.startswith("Round 7, 1970-01-01 00:00:00 UTC: published\n")
    shard_row, _, trend_row = text.splitlines()[-3:]
    assert shard_row.split()[:4] == ["?", "host:1", "stale", "900"]
    assert shard_row.endswith("pending  [timed out]")
    assert trend_row.split() == ["6.7", "genre", "Drama", "falling", "north"]
