from __future__ import annotations

import pytest

from constellation.federated.terms import TERM_BYTES, check_new_term, check_term


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


@pytest.mark.parametrize("text", ["a\x1b]0;owned\x07", "a\nb", "\x7f", "\x85", "\x9b2J", "\0"])
def test_a_new_term_has_no_control_character(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be printable text, got .* U\+00"):
        check_new_term(text)


@pytest.mark.parametrize(
    "text", ["film:1", "Ki\u200cno", "\u00a0", "\u0434\u0440\u0430\u043c\u0430", "\U0001f3ac"]
)
def test_every_other_character_may_be_in_a_new_term(text: str) -> None:
    assert check_new_term(text) == text


def test_a_stored_term_with_a_control_character_is_still_read() -> None:
    assert check_term("a\x1bb") == "a\x1bb"
