from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from benchmarks import case_modules
from benchmarks.case_modules import find_cases, needs_postgres, run_case

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("case", find_cases())
def test_a_case_measures_with_a_postgresql_server_or_with_nothing(case: str) -> None:
    measure = import_module(f"benchmarks.cases.{case}").measure

    assert list(inspect.signature(measure).parameters) in ([], ["server"])


def test_the_list_of_cases_says_what_each_measures_in_one_line() -> None:
    cases = find_cases()

    assert {"ingest", "sync", "search"} <= set(cases)
    assert all(summary.endswith((".", "?")) for summary in cases.values()), cases


def test_only_a_case_that_asks_for_it_needs_postgresql() -> None:
    assert needs_postgres("bloat")
    assert not needs_postgres("tokens")


def test_a_case_runs_by_its_name() -> None:
    names = [line.name for line in run_case("tokens", None)]

    assert names == ["token_issue_cpu_us", "token_verify_cpu_us"]


def test_a_case_without_a_docstring_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "silent.py").write_text("x = 1\n")
    monkeypatch.setattr(case_modules, "FOLDER", tmp_path)

    with pytest.raises(ValueError, match=r"silent\.py has no docstring"):
        find_cases()
