from __future__ import annotations

import pytest

from benchmarks.exponents import find_slopes, measure_exponent


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_found(exponent: float) -> None:
    sizes = [10, 100, 1000]

    line = measure_exponent("x", sizes, [3 * size**exponent for size in sizes])

    assert line.name == "x_exponent"
    assert line.value == pytest.approx(exponent, abs=1e-9)


def test_a_bend_shows_between_two_sizes() -> None:
    sizes, costs = [10, 100, 1000], [5.0, 5.0, 50.0]

    assert find_slopes(sizes, costs) == pytest.approx([0.0, 1.0])
    assert measure_exponent("x", sizes, costs).spread == pytest.approx((0.0, 1.0))
