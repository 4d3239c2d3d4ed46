from __future__ import annotations

import numpy as np
import pytest

from constellation_settop.recommending.related import (
    RelatedContent,
    compute_age_factors,
    compute_evidence,
)
from constellation_settop.recommending.scores import PEAK
from constellation_settop.values import HistoryEntry, RelatedRow
from tests.clients.samples import make_catalogue, make_related


def make_history(*opinions: int) -> list[HistoryEntry]:
    return [HistoryEntry(f"0-{number}", each, 1) for number, each in enumerate(opinions)]


def test_an_entry_counts_half_after_the_half_life_and_nothing_in_the_end() -> None:
    factors = compute_age_factors(30)

    assert factors[[0, 30, 60, 120]].tolist() == [4096, 2048, 1024, 256]
    assert (np.diff(factors) <= 0).all()
    assert factors[-1] == 0


def test_the_age_of_an_entry_is_the_number_of_newer_likes() -> None:
    evidence = compute_evidence(make_history(64, -16, 64, 0, 32), half_life=1)

    assert evidence == {"0-0": 64 * 1024, "0-1": -16 * 1024, "0-2": 64 * 2048, "0-4": 32 * 4096}


def test_scores_are_the_sums_of_evidence_times_weight() -> None:
    contents = make_catalogue()
    rows = make_related("0-0", {"1-0": 100, "1-1": 50}) | make_related(
        "0-1", {"1-1": 30, "1-2": -80}
    )
    related = RelatedContent(contents, rows.values())

    scores = related.score({"0-0": 2, "0-1": 1, "0-9": 7})

    named = dict(zip(contents.content_ids, scores.tolist(), strict=True))
    assert (named["1-0"], named["1-1"]) == (PEAK, PEAK * 130 // 200)
    assert named["1-2"] == PEAK * -80 // 200
    assert related.find_main_reason(contents.find_rows(["1-1"])[0]) == "0-0"


def test_rows_of_any_shift_are_added_up_in_one_unit() -> None:
    contents = make_catalogue()
    rows = make_related("0-0", {"1-0": 64}, shift=6) | make_related("0-1", {"1-1": 64}, shift=7)
    rows |= make_related("0-2", {"1-2": 127}, shift=30)

    scores = RelatedContent(contents, rows.values()).score({"0-0": 9, "0-1": 9, "0-2": 9})

    assert scores[contents.find_rows(["1-0", "1-1", "1-2"])].tolist() == [PEAK, PEAK // 2, 0]


def test_the_largest_weights_that_a_shard_can_send_do_not_overflow() -> None:
    contents = make_catalogue(6, 100)
    sources = [f"0-{number}" for number in range(100)]
    rows = [
        RelatedRow(each, ("5-1", "5-2", "5-3"), np.array([127, 126, -128], np.int8).tobytes(), 0)
        for each in sources * 5
    ]

    scores = RelatedContent(contents, rows).score(dict.fromkeys(sources, 64 * 4096))

    found = scores[contents.find_rows(["5-1", "5-2", "5-3"])].tolist()
    assert found == [PEAK, pytest.approx(PEAK * 126 // 127, abs=1), -PEAK]


def test_neighbours_and_rows_of_unknown_content_do_no_harm() -> None:
    contents = make_catalogue()
    rows = make_related("gone", {"1-0": 9, "unheard of": 100}) | make_related("0-0", {"nowhere": 1})

    scores = RelatedContent(contents, rows.values()).score({"gone": 1, "0-0": 1})

    assert np.flatnonzero(scores).tolist() == contents.find_rows(["1-0"]).tolist()


def test_without_rows_or_evidence_nothing_is_related() -> None:
    contents = make_catalogue()

    assert not RelatedContent(contents, []).score({"0-0": 5}).any()
    assert not RelatedContent(contents, make_related("0-0", {"1-0": 9}).values()).score({}).any()
