from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.dictionary_column import decode_texts, encode_texts

ROWS = st.lists(st.lists(st.text(max_size=3), max_size=5).map(tuple), max_size=6)


@given(ROWS)
def test_rows_come_back_as_they_went_in(rows: list[tuple[str, ...]]) -> None:
    column = encode_texts(rows)

    assert decode_texts(column.texts, column.counts, column.indexes) == rows
    assert list(column.texts) == sorted(set(column.texts))


@pytest.mark.parametrize(
    ("counts", "indexes", "problem"),
    [
        (b"\x02", [0], "has 1 indexes, but its counts add up to 2"),
        (b"", [0], "has 1 indexes, but its counts add up to 0"),
        (b"\x01", [1], "has index 1 into 1 texts"),
    ],
)
def test_parts_that_do_not_fit_are_refused(counts: bytes, indexes: list[int], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode_texts(["drama"], counts, indexes)
