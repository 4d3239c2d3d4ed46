"""New content ids of devices, through the planner: which are added, and which are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.ingest.deltas import RejectionReason, Verdict
from constellation.core.rows import TermKind
from constellation.core.rules import Rules
from constellation.core.store import Term
from constellation.core.table.vocabulary import TERM_LIMITS
from tests.core.ingest.planned_table import HOUR, NOW, PlannedTable
from tests.deltas import PatternSpec, make_delta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.ingest.deltas import Receipt

BUDGET = 256


def open_table(budget: int = BUDGET) -> PlannedTable:
    return PlannedTable(
        Rules(
            max_devices=4,
            max_patterns=20_000,
            max_patterns_per_device=10_000,
            max_new_contents_per_hour=budget,
            k_anonymity=2,
        )
    )


def name_contents(first: int, count: int, prefix: str = "made-up") -> tuple[str, ...]:
    return tuple(f"{prefix}-{number}" for number in range(first, first + count))


def list_rejected(receipt: Receipt) -> list[bytes]:
    assert {each.reason for each in receipt.rejections} <= {RejectionReason.TOO_MANY_NEW_CONTENTS}
    return [each.pattern_id for each in receipt.rejections]


def list_ids(numbers: Sequence[int]) -> list[bytes]:
    return [PatternSpec(number).pattern_id for number in numbers]


def test_a_device_that_makes_up_ten_thousand_ids_fills_only_its_budget() -> None:
    shard = open_table()
    vocabulary = shard.table.vocabulary
    for seq in range(1, 11):
        flood = [
            PatternSpec(seq * 100 + n, n, contents=name_contents(seq * 1000 + n * 16, 16))
            for n in range(63)
        ]
        other = [PatternSpec(seq, contents=(f"true-{seq}",))]
        known = [PatternSpec(50 + seq, contents=("made-up-1000", "true-1"))]
        receipts = shard.commit(
            make_delta(0, seq, flood), make_delta(1, seq, other), make_delta(2, seq, known)
        ).receipts

        assert len(list_rejected(receipts[0])) == (63 - BUDGET // 16 if seq == 1 else 63)
        assert [receipt.through_seq for receipt in receipts] == [seq] * 3
        assert not receipts[1].rejections
        assert not receipts[2].rejections

    assert vocabulary.count(TermKind.CONTENT) == BUDGET + 10
    assert vocabulary.count(TermKind.GENRE) == 0


def test_the_next_hour_has_a_budget_of_its_own() -> None:
    shard = open_table(budget=2)
    first = [PatternSpec(n, contents=(f"a{n}",)) for n in range(3)]
    later = [PatternSpec(n, contents=(f"b{n}",)) for n in range(3)]

    receipts = [
        shard.commit(make_delta(0, 1, first)).receipts[0],
        shard.commit(make_delta(0, 2, later), now=NOW).receipts[0],
        shard.commit(make_delta(0, 3, later), now=NOW + 3600).receipts[0],
    ]

    assert [list_rejected(receipt) for receipt in receipts] == [
        list_ids([2]),
        list_ids([0, 1, 2]),
        list_ids([2]),
    ]


def test_a_pattern_beyond_the_budget_is_rejected_alone_and_adds_nothing() -> None:
    shard = open_table(budget=2)

    receipt = shard.commit(
        make_delta(
            0,
            1,
            [
                PatternSpec(1, contents=("a",)),
                PatternSpec(2, contents=("b", "c")),
                PatternSpec(3, contents=("a",)),
                PatternSpec(4),
            ],
        )
    ).receipts[0]

    assert receipt.verdict is Verdict.APPLIED
    assert list_rejected(receipt) == list_ids([2])
    assert len(shard.read_success_rates()) == 3
    assert shard.table.vocabulary.count(TermKind.CONTENT) == 1
    after = make_delta(0, 2, [PatternSpec(5, contents=("d",))])
    assert not shard.commit(after).receipts[0].rejections  # the rejected pattern cost nothing


def test_devices_leave_the_numbers_that_the_catalogue_may_need() -> None:
    shard = open_table()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TERM_LIMITS, TermKind.CONTENT, shard.rules.max_contents + 2)
        receipt = shard.commit(
            make_delta(0, 1, [PatternSpec(n, contents=(f"a{n}",)) for n in range(3)])
        ).receipts[0]
        shard.table.content_count += 1  # the catalogue needs one less
        after = shard.commit(make_delta(0, 2, [PatternSpec(9, contents=("b",))])).receipts[0]

    assert [each.reason for each in receipt.rejections] == [RejectionReason.SHARD_FULL]
    assert not after.rejections


def test_no_device_pays_for_terms_that_the_catalogue_added() -> None:
    shard = open_table(budget=0)
    shard.table.vocabulary.add([Term(TermKind.CONTENT, 1, "a"), Term(TermKind.GENRE, 1, "Drama")])

    receipt = shard.commit(
        make_delta(
            0,
            1,
            [PatternSpec(1, contents=("a",), genres=("Drama",)), PatternSpec(2, contents=("b",))],
            signals=[("a", HOUR), ("b", HOUR)],
        )
    ).receipts[0]

    assert list_rejected(receipt) == list_ids([2])
    assert receipt.signals_dropped == 1
    assert shard.table.vocabulary.count(TermKind.CONTENT) == 1


def test_a_new_content_costs_a_device_once_in_signals_and_patterns() -> None:
    shard = open_table(budget=2)

    receipt = shard.commit(
        make_delta(0, 1, [PatternSpec(1, contents=("a",))], signals=[("a", HOUR - 1)]),
        make_delta(0, 2, [PatternSpec(2, contents=("a", "b"))], signals=[("a", HOUR)]),
        make_delta(0, 3, [PatternSpec(3, contents=("b",)), PatternSpec(4, contents=("c",))]),
    ).receipts

    assert [list_rejected(each) for each in receipt] == [[], [], list_ids([4])]
    assert [each.signals_dropped for each in receipt] == [0, 0, 0]


def test_a_device_over_its_budget_does_not_take_a_name_from_the_device_beside_it() -> None:
    shard = open_table(budget=1)

    receipts = shard.commit(
        make_delta(0, 1, [PatternSpec(1, contents=("x", "premiere"))]),
        make_delta(1, 1, [PatternSpec(1, contents=("premiere",))]),
    ).receipts

    assert [list_rejected(each) for each in receipts] == [list_ids([1]), []]
    assert shard.table.vocabulary.number(TermKind.CONTENT, "premiere") == 1
    assert not shard.table.vocabulary.number(TermKind.CONTENT, "x")


@pytest.mark.parametrize("seed", range(4))
def test_random_groups_add_what_a_device_by_device_count_allows(seed: int) -> None:
    random = np.random.default_rng(seed)
    shard = open_table(budget=12)
    spent = [0, 0, 0]
    for seq in range(1, 6):
        before = {
            text
            for number in range(1, shard.table.vocabulary.count(TermKind.CONTENT) + 1)
            for text in [shard.table.vocabulary.text(TermKind.CONTENT, number)]
        }
        patterns = [
            [
                PatternSpec(n, contents=tuple({f"t{t}" for t in random.integers(0, 90, 3)}))
                for n in range(4)
            ]
            for _ in range(3)
        ]
        receipts = shard.commit(
            *(make_delta(device, seq, patterns[device]) for device in range(3))
        ).receipts
        for device, receipt in enumerate(receipts):
            rejected = list_rejected(receipt)
            stored = [each for each in patterns[device] if each.pattern_id not in rejected]
            brought = {text for each in stored for text in each.contents} - before
            spent[device] += len(brought)
            assert spent[device] <= 12
            for each in patterns[device]:
                if set(each.contents) <= before:
                    assert each.pattern_id not in rejected

    counts = shard.table.new_contents.read(np.arange(3), HOUR)
    assert counts.tolist() == spent
    assert shard.table.vocabulary.count(TermKind.CONTENT) <= sum(spent)
