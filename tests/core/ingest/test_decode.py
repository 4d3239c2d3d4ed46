from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.core.ingest.content_budget import ContentBudget
from constellation.core.ingest.decode import Upserts, decode_patterns
from constellation.core.ingest.deltas import PatternColumns, RejectionReason
from constellation.core.rows import TermKind
from constellation.core.rules import Rules
from constellation.core.store import Term
from constellation.core.table.shard_table import Table
from constellation.encoding import DIMENSION, INT8_ROW, Encoding, normalise_codes
from tests.deltas import PatternSpec, embedding, make_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

QUALITY = 0.7


def make_budget(genres: Sequence[str] = (), most: int = 256) -> ContentBudget:
    table = Table(Rules(max_devices=4, max_patterns=4))
    table.vocabulary.add(Term(TermKind.GENRE, n, text) for n, text in enumerate(genres, 1))
    return ContentBudget(table, np.arange(2), hour=1, most=most)


def decode(*batches: PatternColumns, budget: ContentBudget | None = None) -> Upserts:
    return decode_patterns(batches, [0] * len(batches), budget or make_budget(), QUALITY)


def test_no_batches_are_no_rows() -> None:
    assert len(decode().rows) == 0


@pytest.mark.parametrize("encoding", list(Encoding))
def test_every_encoding_decodes_to_the_same_direction(encoding: Encoding) -> None:
    upserts = decode(make_columns([PatternSpec(1, direction=4)], encoding))

    assert upserts.reasons.tolist() == [0]
    assert (normalise_codes(upserts.rows["codes"]) @ embedding(4))[0] > 0.999


def test_batches_of_several_encodings_keep_their_order() -> None:
    upserts = decode(
        make_columns([PatternSpec(1, 1), PatternSpec(2, 2)], Encoding.FLOAT16),
        make_columns([PatternSpec(3, 3)], Encoding.INT8),
        make_columns([PatternSpec(4, 4)], Encoding.FLOAT32),
    )

    vectors = normalise_codes(upserts.rows["codes"])
    assert upserts.sources.tolist() == [0, 0, 1, 2]
    assert [id_.tobytes() for id_ in upserts.rows["pattern_id"]] == [
        PatternSpec(number).pattern_id for number in (1, 2, 3, 4)
    ]
    assert all(vectors[row] @ embedding(row + 1) > 0.999 for row in range(4))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full(DIMENSION, np.nan), RejectionReason.NOT_FINITE),
        (np.full(DIMENSION, np.inf), RejectionReason.NOT_FINITE),
        (np.zeros(DIMENSION), RejectionReason.BAD_NORM),
        (np.full(DIMENSION, 1e4), RejectionReason.BAD_NORM),
    ],
)
def test_an_embedding_without_a_direction_is_rejected(
    values: np.ndarray[tuple[int], np.dtype[np.float64]], reason: RejectionReason
) -> None:
    columns = make_columns([PatternSpec(1)], Encoding.FLOAT32)
    columns = replace(columns, embeddings=values.astype("<f4").tobytes())

    assert decode(columns).reasons.tolist() == [reason]


@pytest.mark.parametrize(
    ("scale", "reason"),
    [
        (0.0, RejectionReason.BAD_NORM),
        (-1.0, RejectionReason.BAD_NORM),
        (np.nan, RejectionReason.NOT_FINITE),
    ],
)
def test_int8_codes_need_a_positive_scale(scale: float, reason: RejectionReason) -> None:
    row = np.ones(1, INT8_ROW)
    row["scale"] = scale
    columns = replace(make_columns([PatternSpec(1)]), embeddings=row.tobytes())

    assert decode(columns).reasons.tolist() == [reason]


def test_terms_are_numbered_across_batches() -> None:
    budget = make_budget()
    upserts = decode(
        make_columns([PatternSpec(1, contents=("a", "b"))]),
        make_columns([PatternSpec(2, contents=("b", "c"))]),
        budget=budget,
    )

    texts = {term.number: term.text for term in budget.pending.to_terms()}
    named = [[texts[n] for n in row["contents"].tolist() if n] for row in upserts.rows]
    assert named == [["a", "b"], ["b", "c"]]


def test_genres_that_the_catalogue_lacks_are_dropped() -> None:
    budget = make_budget(["Drama", "Crime"])
    upserts = decode(
        make_columns(
            [
                PatternSpec(1, genres=("made up", "Crime", "another", "Drama")),
                PatternSpec(2, genres=("made up",), contents=("a",)),
                PatternSpec(3, success_rate=0.1, genres=("Drama",)),
            ]
        ),
        make_columns([PatternSpec(4, genres=("Drama",))]),
        budget=budget,
    )

    assert upserts.rows["genres"][:, :3].tolist() == [[2, 1, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert upserts.rows["contents"][1, 0] > 0
    assert upserts.reasons.tolist() == [0, 0, RejectionReason.BELOW_QUALITY, 0]
    assert {term.kind for term in budget.pending.to_terms()} == {TermKind.CONTENT}


def test_terms_of_rejected_patterns_get_no_number() -> None:
    budget = make_budget()

    decode(make_columns([PatternSpec(1, success_rate=0.1, contents=("bad",))]), budget=budget)

    assert budget.pending.to_terms() == []


def test_an_index_beyond_the_dictionary_is_rejected() -> None:
    columns = replace(make_columns([PatternSpec(1, contents=("a",))]), content_indexes=[1])

    assert decode(columns).reasons.tolist() == [RejectionReason.BAD_CONTEXT]


def test_the_first_reason_counts() -> None:
    columns = make_columns([PatternSpec(1, success_rate=0.1, sample_count=0)])

    assert decode(columns).reasons.tolist() == [RejectionReason.BAD_SAMPLE_COUNT]
