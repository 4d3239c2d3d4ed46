from __future__ import annotations

from dataclasses import fields, replace

from constellation.core.store import Totals
from constellation.storage.totals_row import decode_totals, encode_totals

LARGEST = 2**64 - 1
TOTALS = Totals(7, 3, 2, LARGEST, 2**63, 1, LARGEST - 1, 2**63 - 1)


def test_totals_come_back_from_their_row() -> None:
    assert decode_totals(encode_totals(TOTALS)) == TOTALS
    assert len(encode_totals(TOTALS)) == len(fields(Totals))


def test_numbers_fit_the_signed_integers_of_databases() -> None:
    assert all(-(2**63) <= (number or 0) < 2**63 for number in encode_totals(TOTALS))


def test_an_earlier_schema_has_no_digest_of_counts() -> None:
    older = replace(TOTALS, count_digest=None)

    assert decode_totals(encode_totals(older)) == older
