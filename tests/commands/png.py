"""PNG files, read to their pixels."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EIGHT_BITS, _RGBA, _CHANNELS = 8, 6, 4


def read_png(data: bytes) -> NDArray[np.uint8]:
    """Return the pixels, shape (height, width, 4); every checksum is looked at."""
    assert data.startswith(_SIGNATURE)
    chunks = list(_split_chunks(data[len(_SIGNATURE) :]))
    assert chunks[0][0] == b"IHDR"
    assert chunks[-1] == (b"IEND", b"")
    width, height, depth, kind, *_, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, kind, interlaced) == (_EIGHT_BITS, _RGBA, 0)
    packed = b"".join(content for name, content in chunks if name == b"IDAT")
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, -1)
    return _undo_filters(rows).reshape(height, width, _CHANNELS)


def _split_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found = []
    while data:
        (length,) = struct.unpack_from(">I", data)
        name, content = data[4:8], data[8 : 8 + length]
        assert struct.unpack_from(">I", data, 8 + length)[0] == zlib.crc32(name + content)
        found.append((name, content))
        data = data[12 + length :]
    return found


def _undo_filters(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo what PNG does to each row before it packs it."""
    pixels = np.zeros((len(rows) + 1, rows.shape[1] - 1), np.uint8)
    for index, row in enumerate(rows):
        pixels[index + 1] = _undo_filter(int(row[0]), row[1:], pixels[index])
    return pixels[1:]


def _undo_filter(kind: int, row: NDArray[np.uint8], above: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if kind == 0:
        return row
    if kind == 2:
        return row + above
    if kind == 1:  # each pixel is the sum of those to its left, modulo 256
        return np.cumsum(row.reshape(-1, _CHANNELS), axis=0, dtype=np.uint8).reshape(-1)
    return _undo_neighbour_filter(kind, row, above)


def _undo_neighbour_filter(
    kind: int, row: NDArray[np.uint8], above: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Go from pixel to pixel, but leap over plain stretches: there the row above goes on."""
    pixels, pixels_above = row.reshape(-1, _CHANNELS), above.reshape(-1, _CHANNELS)
    shifted = np.vstack([np.zeros((1, _CHANNELS), np.uint8), pixels_above[:-1]])
    plain = ~(pixels.any(axis=1) | (pixels_above != shifted).any(axis=1))
    stops = [*np.flatnonzero(~plain).tolist(), len(pixels)]
    done, values, values_above, corners = (
        pixels_above.tolist(),
        pixels.tolist(),
        pixels_above.tolist(),
        shifted.tolist(),
    )
    left, position, next_stop = [0] * _CHANNELS, 0, 0
    while position < len(done):
        if plain[position] and left == values_above[position]:
            while stops[next_stop] < position:
                next_stop += 1
            position = stops[next_stop]
            left = done[position - 1]
            continue
        done[position] = left = [
            (value + ((a + b) // 2 if kind == 3 else _paeth(a, b, c))) & 255
            for value, a, b, c in zip(
                values[position], left, values_above[position], corners[position], strict=True
            )
        ]
        position += 1
    return np.array(done, np.uint8).reshape(-1)


def _paeth(left: int, over: int, corner: int) -> int:
    near = left + over - corner
    by_left, by_over, by_corner = abs(near - left), abs(near - over), abs(near - corner)
    if by_left <= by_over and by_left <= by_corner:
        return left
    return over if by_over <= by_corner else corner
