"""What the federation signs of a list of popular content, and a device verifies."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_PREFIX: Final = b"constellation popular content v1\0"
"""What is signed begins with this, so that a signature of it means nothing elsewhere."""


def to_signed_bytes(
    list_id: bytes, region: str, content_ids: Sequence[str], households: Sequence[int]
) -> bytes:
    """Return the bytes to sign for a list: every text after its length, so that none is ambiguous.

    Numbers have 4 bytes, big-endian: the length of the id, the id, the length of the region in
    UTF-8, the region, the number of content items; then for each the length of its id in UTF-8, the
    id, and its households.
    """
    parts = [_PREFIX, _frame(list_id), _frame(region.encode()), struct.pack(">I", len(content_ids))]
    for content_id, count in zip(content_ids, households, strict=True):
        parts += [_frame(content_id.encode()), struct.pack(">I", count)]
    return b"".join(parts)


def _frame(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text
