from __future__ import annotations

import pytest

from constellation.federated.floors import compute_min_members


@pytest.mark.parametrize("k", [1, 2, 5, 20])
def test_when_all_others_are_accomplices_k_honest_devices_remain(k: int) -> None:
    assert compute_min_members(k) - (k - 1) == k
