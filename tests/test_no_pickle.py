"""Nothing from outside becomes code: no pickle, no eval, no shell, no unsafe loader."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PRODUCT = ("constellation", "federation", "clients/python/constellation_settop")
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "read_pickle", "unsafe_load"}
UNSAFE_OPTIONS = {"shell", "allow_pickle"}


def list_modules() -> list[Path]:
    return sorted(path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py"))


def find_unsafe(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names) if {
                each.name.split(".")[0] for each in names
            } & UNSAFE_MODULES:
                yield f"line {node.lineno}: import"
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in UNSAFE_MODULES:
                yield f"line {node.lineno}: import"
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if (
                name in UNSAFE_CALLS
            ):
                yield f"line {node.lineno}: {name}"
            case ast.keyword(arg=str(name), value=ast.Constant(value=True)) if (
                name in UNSAFE_OPTIONS
            ):
                yield f"line {node.value.lineno}: {name}=True"


def test_the_product_unpickles_and_evaluates_nothing() -> None:
    found = {
        str(path.relative_to(ROOT)): unsafe
        for path in list_modules()
        if (unsafe := list(find_unsafe(path.read_text("utf-8"))))
    }

    assert len(list_modules()) > 200
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "eval('1')",
        "pandas.read_pickle(f)",
        "numpy.load(f, allow_pickle=True)",
        "subprocess.run(c, shell=True)",
    ],
)
def test_each_way_is_noticed(source: str) -> None:
    assert list(find_unsafe(source)) != []
