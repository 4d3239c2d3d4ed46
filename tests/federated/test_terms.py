from __future__ import annotations

import pytest

from constellation.federated.terms import TERM_BYTES, check_term


@pytest.mark.parametrize("text", ["a", "é" * (TERM_BYTES // 2), "a" * TERM_BYTES])
def test_a_term_of_up_to_sixty_four_bytes_can_be_stored(text: str) -> None:
    assert check_term(text) == text


@pytest.mark.parametrize("text", ["", "a" * (TERM_BYTES + 1), "é" * (TERM_BYTES // 2 + 1)])
def test_a_term_of_another_length_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"from 1 to 64 bytes each, got {len(text.encode())}"):
        check_term(text)


def test_a_term_with_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        check_term("a\0b")
