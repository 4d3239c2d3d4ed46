from __future__ import annotations

import io

from rich.console import Console

from constellation.transport.codec.times import to_duration
from constellation.v1 import aggregates_pb2, patterns_pb2
from constellation.v1 import federation_pb2 as pb
from federation.printing import format_coverage, format_devices, format_state, is_taken, print_round

COVERAGE = aggregates_pb2.Coverage(
    shards_fresh=2, shards_stale=1, shards_total=4, devices_fresh=1500, devices_total=2000
)


def test_coverage_counts_fresh_and_stale_shards_and_devices() -> None:
    assert format_coverage(pb.Round(coverage=COVERAGE)) == (
        "2 of 4 shards fresh, 1 stale; 1,500 of 2,000 devices (75%)"
    )


def test_an_empty_fleet_has_no_percentage() -> None:
    assert format_devices(aggregates_pb2.Coverage()) == "no devices known"


def test_the_round_of_a_relay_has_the_coverage_of_the_federation_above() -> None:
    assert format_coverage(pb.Round()) == "of the federation above"


def test_a_published_round_that_no_shard_has_is_not_taken() -> None:
    shards = [pb.RoundShard(address="a:1"), pb.RoundShard(address="b:1")]
    report = pb.Round(state=pb.ROUND_STATE_PUBLISHED, shards=shards)

    assert not is_taken(report)
    report.shards[1].published = True
    assert is_taken(report)
    assert is_taken(pb.Round(state=pb.ROUND_STATE_PUBLISHED))  # of a relay, which lists none


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
                unavailable=[
                    aggregates_pb2.UnavailableShard(
                        address="below:1", shard_ids=[3], problem="refused"
                    )
                ],
            )
        ],
        contributors=1200,
        dictionary_size=500,
        related_count=212,
        related_changed_count=9,
        popular_count=3,
        solve_time=to_duration(0.75),
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
    assert text.startswith("Round 7, 1970-01-01 00:00:00 UTC: published, but no shard took it\n")
    related = "\n  related   212 rows for 500 content items, 3 popular lists"
    assert f"{related}; 9 changed, of 1,200 contributors, in 0.75 s\n" in text
    assert "\n  shard 3 at below:1, behind host:1, did not answer: refused\n" in text
    shard_row, _, _, trend_row = text.splitlines()[-4:]
    assert shard_row.split()[:4] == ["?", "host:1", "stale", "900"]
    assert shard_row.endswith("pending  [timed out]")
    assert trend_row.split() == ["6.7", "genre", "Drama", "falling", "north"]


def test_a_round_that_did_not_ask_for_likes_says_that_related_content_is_as_before() -> None:
    console = Console(file=io.StringIO(), width=200)

    print_round(console, pb.Round(related_count=1, dictionary_size=2))

    assert isinstance(console.file, io.StringIO)
    assert "1 row for 2 content items, 0 popular lists, as before\n" in console.file.getvalue()
