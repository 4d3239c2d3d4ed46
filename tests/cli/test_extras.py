from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import FAILURE
from constellation.cli.extras import load_extra

if TYPE_CHECKING:
    from pathlib import Path


def test_a_module_whose_packages_are_installed_is_returned() -> None:
    assert load_extra("json", "plot") is json


def test_a_missing_package_is_named_with_the_extra_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_an_extra.py").write_text("import a_package_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(CommandError) as raised:
        load_extra("needs_an_extra", "plot")

    assert raised.value.exit_code == FAILURE
    assert str(raised.value) == (
        "the package a_package_that_is_missing is missing: install constellation-tv[plot], "
        "for example with `pip install 'constellation-tv[server,plot]'`"
    )
