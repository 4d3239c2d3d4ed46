from __future__ import annotations

import pytest

from constellation.storage.digests import to_signed, to_unsigned


@pytest.mark.parametrize(
    ("digest", "stored"), [(0, 0), (2**63 - 1, 2**63 - 1), (2**63, -(2**63)), (2**64 - 1, -1)]
)
def test_a_digest_is_stored_with_the_same_bits_as_a_signed_integer(
    digest: int, stored: int
) -> None:
    assert to_signed(digest) == stored
    assert to_unsigned(stored) == digest
