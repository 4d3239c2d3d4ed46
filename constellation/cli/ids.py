"""Parse the device ids that people give on the command line."""

from __future__ import annotations

import base64
import binascii
from argparse import ArgumentTypeError

from constellation.encoding import ID_BYTES


def parse_device_id(text: str) -> bytes:
    """Return a device id, 16 bytes, from hex (as in tables), a UUID, or base64 (as in JSON).

    Raises ArgumentTypeError for any other text.
    """
    try:
        parsed = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        parsed = _decode_base64(text)
    if len(parsed) != ID_BYTES:
        raise ArgumentTypeError(
            f"must be {2 * ID_BYTES} hex digits, a UUID or {ID_BYTES} bytes in base64, got {text!r}"
        )
    return parsed


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
