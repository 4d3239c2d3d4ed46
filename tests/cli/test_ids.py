from __future__ import annotations

import base64
from argparse import ArgumentTypeError
from uuid import UUID

import pytest

from constellation.cli.ids import parse_device_id

DEVICE_ID = bytes(range(240, 256))


@pytest.mark.parametrize(
    "text",
    [
        DEVICE_ID.hex(),
        DEVICE_ID.hex().upper(),
        str(UUID(bytes=DEVICE_ID)),
        base64.b64encode(DEVICE_ID).decode(),
    ],
)
def test_a_device_id_is_read_in_every_form_that_we_print(text: str) -> None:
    assert parse_device_id(text) == DEVICE_ID


@pytest.mark.parametrize("text", ["", "00ff", "film:1", DEVICE_ID.hex() + "00", "AAAA"])
def test_any_other_text_is_rejected_with_the_forms(text: str) -> None:
    with pytest.raises(ArgumentTypeError) as raised:
        parse_device_id(text)

    assert str(raised.value) == (
        f"must be 32 hex digits, a UUID or 16 bytes in base64, got {text!r}"
    )
