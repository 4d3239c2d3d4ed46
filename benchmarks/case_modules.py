"""The cases of `make bench`: every module of benchmarks/cases/, by its name."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.report import Measurement
    from testing.postgres_server import PostgresServer

FOLDER: Final = Path(__file__).with_name("cases")


def find_cases() -> dict[str, str]:
    """Return what each case measures, in one line, by its name. This imports no case."""
    return {file.stem: _read_summary(file) for file in sorted(FOLDER.glob("*.py"))}


def _read_summary(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    if not docstring:
        raise ValueError(f"{file} has no docstring that says what it measures")
    return docstring.splitlines()[0]


def needs_postgres(case: str) -> bool:
    """Tell whether the case's `measure` takes a PostgreSQL server."""
    return bool(inspect.signature(_load_measure(case)).parameters)


def run_case(case: str, server: PostgresServer | None) -> Sequence[Measurement]:
    """Measure a case. Only a case that needs no PostgreSQL server can do without one."""
    measure = _load_measure(case)
    return measure(server) if needs_postgres(case) else measure()


def _load_measure(case: str) -> Callable[..., Sequence[Measurement]]:
    measure: Callable[..., Sequence[Measurement]] = import_module(
        f"benchmarks.cases.{case}"
    ).measure
    return measure
