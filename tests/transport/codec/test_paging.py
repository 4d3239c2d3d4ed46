"""A page token is the position at which a page begins."""

from __future__ import annotations

import pytest

from constellation.errors import InvalidInputError
from constellation.transport.codec.paging import to_position


@pytest.mark.parametrize(
    ("token", "position"), [("", 0), ("0", 0), ("17", 17), ("9" * 18, 10**18 - 1)]
)
def test_a_token_is_a_decimal_position(token: str, position: int) -> None:
    assert to_position(token) == position


@pytest.mark.parametrize("token", ["-1", "+1", " 1", "1.0", "x", "٣", "9" * 19])
def test_any_other_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidInputError, match="page_token must be the next_page_token"):
        to_position(token)


def test_a_long_token_is_shortened_in_the_error() -> None:
    with pytest.raises(InvalidInputError) as raised:
        to_position("x" * 10_000)

    assert len(str(raised.value)) < 120
