"""What is joined from encoded parts is what a device would get if it were encoded anew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.core.index.similar import SimilarPatterns
from constellation.core.rows import PATTERN, TermKind
from constellation.core.store import Term
from constellation.core.table.vocabulary import Vocabulary
from constellation.dictionary_column import decode_texts
from constellation.encoding import Encoding
from constellation.federated.published import PublishedClusters
from constellation.transport.codec.encoded_patterns import EncodedPatterns
from constellation.transport.codec.global_state import from_clusters
from constellation.transport.codec.patterns import from_similar_patterns
from constellation.v1 import patterns_pb2 as pb

COUNT = 40
GENRES = [f"genre {number}" for number in range(12)]
CONTENTS = [f"film:{number}" for number in range(300)]
BUDGET = 1 << 20
CHOICES = st.lists(st.integers(0, COUNT - 1), max_size=20, unique=True)
ENCODINGS = st.sampled_from([Encoding.INT8, Encoding.FLOAT16, Encoding.FLOAT32])


def make_vocabulary() -> Vocabulary:
    vocabulary = Vocabulary()
    vocabulary.add(
        [
            *(Term(TermKind.GENRE, number + 1, text) for number, text in enumerate(GENRES)),
            *(Term(TermKind.CONTENT, number + 1, text) for number, text in enumerate(CONTENTS)),
        ]
    )
    return vocabulary


def make_found() -> SimilarPatterns:
    """Return shared patterns with every number of genres and content items."""
    random = np.random.default_rng(1)
    rows = np.zeros(COUNT, PATTERN)
    rows["success_rate"] = random.integers(0, 17, COUNT) / 16
    rows["sample_count"] = 1 << random.integers(0, 30, COUNT)
    rows["created_at"], rows["updated_at"] = random.integers(0, 2**32, (2, COUNT))
    for name, most in (("time_of_day", 6), ("day_type", 4), ("content_type", 5)):
        rows[name] = random.integers(0, most, COUNT)
    rows["pattern_id"] = np.frombuffer(random.bytes(16 * COUNT), "V16")
    rows["codes"] = random.integers(-127, 128, rows["codes"].shape)
    for row in range(COUNT):
        for name, terms in (("genres", GENRES), ("contents", CONTENTS)):
            width = rows[name].shape[1]
            chosen = random.permutation(len(terms))[: random.integers(0, width + 1)] + 1
            rows[name][row, : len(chosen)] = chosen
    ids = [each.tobytes() for each in rows["pattern_id"]]
    return SimilarPatterns(rows, random.random(COUNT).astype(np.float32), ids)


def make_clusters() -> PublishedClusters:
    found, random = make_found(), np.random.default_rng(2)
    rows = found.rows
    return PublishedClusters(
        found.pseudonyms,
        rows["codes"].copy(),
        rows["success_rate"].copy(),
        rows["sample_count"].copy(),
        rows["time_of_day"].copy(),
        rows["day_type"].copy(),
        rows["content_type"].copy(),
        rows["updated_at"].copy(),
        [tuple(random.permutation(GENRES)[: number % 9]) for number in range(COUNT)],
        [tuple(random.permutation(CONTENTS)[: number % 17]) for number in range(COUNT)],
    )


VOCABULARY, FOUND, CLUSTERS = make_vocabulary(), make_found(), make_clusters()


def require_equal(joined: bytes, anew: pb.PatternColumns) -> None:
    """Compare as a device reads it: the order of the texts in a dictionary says nothing."""
    columns = pb.PatternColumns.FromString(joined)
    assert columns.ByteSize() == len(joined)
    assert read_texts(columns) == read_texts(anew)
    assert sorted(columns.genres) == sorted(anew.genres)
    assert sorted(columns.content_ids) == sorted(anew.content_ids)
    for name in ("genres", "genre_indexes", "content_ids", "content_indexes"):
        columns.ClearField(name)
        anew.ClearField(name)
    assert columns == anew


def read_texts(columns: pb.PatternColumns) -> list[list[tuple[str, ...]]]:
    return [
        decode_texts(columns.genres, columns.genre_counts, columns.genre_indexes),
        decode_texts(columns.content_ids, columns.content_counts, columns.content_indexes),
    ]


@given(st.lists(st.tuples(CHOICES, ENCODINGS), min_size=1, max_size=5))
@settings(deadline=None, max_examples=60)
def test_similar_patterns_are_those_that_are_encoded_anew(
    requests: list[tuple[list[int], Encoding]],
) -> None:
    encoder = EncodedPatterns(VOCABULARY, BUDGET)
    for positions, encoding in requests:
        found = FOUND.select(positions)

        joined = encoder.encode_similar(found, encoding, 1)

        require_equal(joined, from_similar_patterns(found, VOCABULARY, encoding))


@given(st.lists(st.tuples(CHOICES, ENCODINGS), min_size=1, max_size=5))
@settings(deadline=None, max_examples=60)
def test_clusters_are_those_that_are_encoded_anew(
    requests: list[tuple[list[int], Encoding]],
) -> None:
    encoder = EncodedPatterns(VOCABULARY, BUDGET)
    for positions, encoding in requests:
        joined = encoder.encode_clusters(CLUSTERS, positions, encoding)

        require_equal(joined, from_clusters(CLUSTERS, positions, encoding))


@pytest.mark.parametrize("budget", [0, 5_000, BUDGET])
def test_the_budget_bounds_what_is_kept_and_changes_no_answer(budget: int) -> None:
    encoder = EncodedPatterns(VOCABULARY, budget)
    for start in (0, 10, 0, 20):
        found = FOUND.select(list(range(start, start + 20)))

        joined = encoder.encode_similar(found, Encoding.INT8, 1)

        require_equal(joined, from_similar_patterns(found, VOCABULARY, Encoding.INT8))
        assert len(encoder) * 1588 <= budget


def test_what_is_used_again_stays_and_the_rest_goes() -> None:
    encoder = EncodedPatterns(VOCABULARY, 8 * 1588)  # two generations of four patterns
    for positions in ([0, 1], [2, 3], [0, 4], [0, 5], [0, 6], [0, 7]):
        encoder.encode_similar(FOUND.select(positions), Encoding.INT8, 1)
    without = FOUND.rows.copy()
    without["success_rate"] = 0  # shows whether a part is encoded again
    changed = SimilarPatterns(without, FOUND.similarities, FOUND.pseudonyms)

    joined = encoder.encode_similar(changed.select([0, 1]), Encoding.INT8, 1)

    rates = pb.PatternColumns.FromString(joined).success_rates
    assert rates == [0.5, 0]


def test_another_catalogue_lets_the_genres_be_encoded_again() -> None:
    encoder = EncodedPatterns(VOCABULARY, BUDGET)
    found = FOUND.select([0, 1])
    without = found.rows.copy()
    without["genres"] = 0
    before = SimilarPatterns(without, found.similarities, found.pseudonyms)
    encoder.encode_similar(before, Encoding.INT8, 1)

    joined = encoder.encode_similar(found, Encoding.INT8, 2)

    require_equal(joined, from_similar_patterns(found, VOCABULARY, Encoding.INT8))
