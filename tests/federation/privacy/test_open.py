from __future__ import annotations

import subprocess
import sys

import pytest

from constellation.errors import ConfigError
from federation.privacy.open import open_privacy


def test_an_epsilon_of_0_is_no_mode() -> None:
    assert open_privacy(0, 1e-10) is None


def test_a_budget_is_opened_with_the_library() -> None:
    mode = open_privacy(2.0, 1e-10)

    assert mode is not None
    assert (mode.budget.epsilon, mode.budget.delta) == (2.0, 1e-10)
    assert 1.99 < mode.compute_epsilon(mode.budget.units) <= 2.0


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opendp", None)  # as if it were not installed
    monkeypatch.setitem(sys.modules, "opendp.prelude", None)
    monkeypatch.delitem(sys.modules, "federation.privacy.gaussian", raising=False)

    with pytest.raises(ConfigError, match=r"needs the package opendp.*constellation-tv\[privacy\]"):
        open_privacy(2.0, 1e-10)


def test_a_federation_without_the_mode_does_not_load_the_library() -> None:
    program = "import sys, federation.server; print('opendp' in sys.modules)"

    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert finished.stdout == "False\n"
