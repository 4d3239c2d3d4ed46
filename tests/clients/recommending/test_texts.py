from __future__ import annotations

import numpy as np
import pytest

from constellation_settop.recommending.texts import Texts, to_texts


def test_texts_are_what_was_put_in() -> None:
    texts = to_texts(["", "Amélie", "日本", ""])

    assert list(texts) == ["", "Amélie", "日本", ""]
    assert texts[-3] == "Amélie"
    assert texts[1:3] == ["Amélie", "日本"]
    assert "日本" in texts
    with pytest.raises(IndexError, match="there are 4 texts, got 4"):
        texts[4]


@pytest.mark.parametrize("offsets", [[], [1, 3], [0, 2], [0, 3, 2, 3]])
def test_offsets_that_lead_astray_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="must ascend from 0"):
        Texts(np.frombuffer(b"abc", np.uint8), np.array(offsets, np.uint32))
