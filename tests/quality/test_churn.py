from __future__ import annotations

import pytest

from constellation.federated.floors import K_ANONYMITY, compute_min_members
from quality.churn import PATTERNS, simulate_coverage


def test_without_churn_everything_stays_covered() -> None:
    least = compute_min_members(K_ANONYMITY)

    assert set(simulate_coverage(0.0, days=30)) == {PATTERNS // least * least / PATTERNS}


def test_coverage_falls_to_one_part_in_m() -> None:
    covered = simulate_coverage(0.05)

    assert sum(covered[-30:]) / 30 == pytest.approx(1 / compute_min_members(K_ANONYMITY), abs=0.03)


def test_more_churn_covers_less() -> None:
    slow, fast = simulate_coverage(0.001, days=90), simulate_coverage(0.01, days=90)

    assert slow[-1] > 0.8
    assert fast[-1] < 0.5
