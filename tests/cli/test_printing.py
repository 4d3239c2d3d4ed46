from __future__ import annotations

import pytest

from constellation.cli.printing import (
    draw_sparkline,
    format_duration,
    format_rate,
    format_size,
    pluralise,
)


@pytest.mark.parametrize(
    ("formatted", "expected"),
    [
        (pluralise(1, "device"), "1 device"),
        (pluralise(0, "device"), "0 devices"),
        (pluralise(4096, "delta"), "4,096 deltas"),
        (format_rate(1234.5), "1,234"),
        (format_rate(0.5), "0.5"),
        (format_size(999), "999 B"),
        (format_size(151_000_000), "151 MB"),
        (format_duration(59), "59 s"),
        (format_duration(3600), "1 hour"),
        (format_duration(2 * 86_400 + 5), "2 days"),
        (draw_sparkline([0, 1, 4, 8]), " ▁▄█"),
        (draw_sparkline([0, 0]), "  "),
    ],
)
def test_figures_are_formatted_for_people(formatted: str, expected: str) -> None:
    assert formatted == expected
