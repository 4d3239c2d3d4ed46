from __future__ import annotations

from constellation.federated.trends import WINDOW_HOURS
from federation.privacy.state import NoisedState


def test_the_window_ends_with_the_newest_hour() -> None:
    hours = {500: {"film:2": 70, "film:1": 60}, 499: {"film:1": 50}, 500 - WINDOW_HOURS: {"old": 9}}

    content_ids, counts = NoisedState(hours=hours).make_window(500)

    assert content_ids == ["film:1", "film:2"]
    assert counts.shape == (WINDOW_HOURS, 2)
    assert counts[-2:].tolist() == [[50, 0], [60, 70]]
    assert counts[:-2].sum() == 0


def test_a_window_without_hours_is_empty() -> None:
    content_ids, counts = NoisedState().make_window(500)

    assert not content_ids
    assert counts.shape == (WINDOW_HOURS, 0)
