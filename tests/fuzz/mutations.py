"""Mutations of valid inputs: small enough to stay nearly valid, which goes deepest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

_INTERESTING: Final = (
    b"",
    b"\x00",
    b"\x7f",
    b"\x80\x01",
    b"\xff" * 9 + b"\x01",  # the largest varint
    b"\xff\xff\xff\xff",
    b"\x00\x00\xc0\x7f",  # a NaN
    b"\x00\x00\x80\x7f",  # infinity
    b"-1",
    b"1e999",
    b'"\\ud800"',
    b"[" * 200,
)
_MAX_STEPS: Final = 4
_MAX_PIECE: Final = 64


def mutate(seed: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Return an input like `seed` with up to four changes; `others` lend pieces."""
    data = bytearray(seed)
    for _ in range(random.randint(1, _MAX_STEPS)):
        at = random.randrange(len(data) + 1)
        length = min(random.randint(1, _MAX_PIECE), len(data) - at)
        match random.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 1 if at < len(data):
                data[at] = random.randrange(256)
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length] * random.randint(1, 3)
            case 4:
                data[at : at + random.choice((0, length))] = random.choice(_INTERESTING)
            case _:
                other = random.choice(others)
                start = random.randrange(len(other) + 1)
                data[at : at + length] = other[start : start + random.randint(1, _MAX_PIECE)]
    return bytes(data)
