from __future__ import annotations

from constellation_settop import AckedDelta, LocalChanges, Outbox, PatternStats, Signal, replay
from tests.clients.samples import make_learned_changes, make_pattern, send_and_acknowledge

FIRST, SECOND = b"\1" * 16, b"\2" * 16
STATS = PatternStats(1.0, 3)


def make_acked_delta(
    seq: int,
    *upserts: bytes,
    removed: tuple[bytes, ...] = (),
    rejected: tuple[bytes, ...] = (),
    is_snapshot: bool = False,
) -> AckedDelta:
    return AckedDelta(
        seq,
        digest=b"",
        is_snapshot=is_snapshot,
        upserts=dict.fromkeys(upserts, STATS),
        removed_ids=removed,
        rejected_ids=rejected,
        signal_count=0,
        acked_at=0.0,
    )


def test_the_journal_replays_to_what_the_shard_holds() -> None:
    with Outbox.open(":memory:", keep_journal=True) as outbox:
        outbox.append(make_learned_changes(1, 2, sample_count=3))
        outbox.append(make_learned_changes(1, success_rate=0.1))
        send_and_acknowledge(outbox, 2)

        journal = list(outbox.read_journal())

    assert [entry.seq for entry in journal] == [1, 2]
    assert replay(journal) == {make_pattern(2).pattern_id: PatternStats(1.0, 3)}


def test_a_snapshot_replaces_what_came_before() -> None:
    entries = [make_acked_delta(1, FIRST), make_acked_delta(2, SECOND, is_snapshot=True)]

    assert replay(entries) == {SECOND: STATS}


def test_removed_and_rejected_patterns_are_not_stored() -> None:
    entries = [
        make_acked_delta(1, FIRST),
        make_acked_delta(2, SECOND, removed=(FIRST,), rejected=(SECOND,)),
    ]

    assert replay(entries) == {}


def test_the_journal_has_what_the_shard_rejected_and_when_it_acked() -> None:
    rejected = make_pattern(2).pattern_id
    with Outbox.open(":memory:", keep_journal=True) as outbox:
        outbox.append(make_learned_changes(1, 2))
        outbox.append(LocalChanges(signals=[Signal("a", 1), Signal("b", 1)]))
        outbox.mark_sent(2)
        outbox.acknowledge(2, {1: rejected})

        first, second = outbox.read_journal()

    assert first.rejected_ids == (rejected,)
    assert second.signal_count == 2
    assert first.acked_at == second.acked_at > 1e9
    assert first.digest != second.digest


def test_no_journal_is_kept_unless_asked_for() -> None:
    with Outbox.open(":memory:") as outbox:
        outbox.append(make_learned_changes(1))
        send_and_acknowledge(outbox, 1)

        assert list(outbox.read_journal()) == []
