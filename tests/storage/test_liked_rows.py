from __future__ import annotations

import numpy as np

from constellation.core.rows import LIKED
from constellation.storage.liked_rows import measure_liked, pad_liked


def test_rows_are_read_as_they_were_before_their_last_zeros_were_left_out() -> None:
    rows = np.zeros(4, LIKED)
    rows["contents"][0, :2] = 256, 1 << 24
    rows["contents"][1] = np.arange(1, 129)
    rows["contents"][2, 5] = 7

    lengths = measure_liked(rows)
    stored = [row.tobytes()[:length] for row, length in zip(rows, lengths, strict=True)]

    assert lengths.tolist()[:3] == [8, 512, 24]
    assert pad_liked(stored).tobytes() == rows.tobytes()
    assert pad_liked([b""]).tobytes() == bytes(512)
