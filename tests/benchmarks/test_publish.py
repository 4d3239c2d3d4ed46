from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import publish, report
from benchmarks.figures import FILE

if TYPE_CHECKING:
    from pathlib import Path


def test_a_case_without_figures_is_named_and_nothing_is_published(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["publish", "ingest"])
    report.write_report([report.compare("x", 1.0, "s", "y", 2.0)], case="streams")
    before = FILE.read_text()

    with pytest.raises(SystemExit):
        publish.main()

    assert "has no figures of ingest" in capsys.readouterr().err
    assert FILE.read_text() == before
