from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, requires
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from constellation_settop.network.hello import SDK_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "clients/python/README.md").read_text()


def read_project(folder: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return project


def read_requirements(monkeypatch: pytest.MonkeyPatch, release: str = "") -> list[str]:
    """Return what the SDK's setup.py says that it needs."""
    calls: list[dict[str, Any]] = []
    setuptools: Any = ModuleType("setuptools")
    setuptools.setup = lambda **arguments: calls.append(arguments)
    monkeypatch.setitem(sys.modules, "setuptools", setuptools)
    monkeypatch.setenv("CONSTELLATION_RELEASE", release)
    runpy.run_path(str(ROOT / "clients/python/setup.py"))
    requirements: list[str] = calls[0]["install_requires"]
    return requirements


SDK, API = read_project(ROOT / "clients/python"), read_project(ROOT)


def to_name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def find_dependencies(*names: str) -> set[str]:
    """Return these distributions and what they need, extras and other platforms left out."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [to_name(each) for each in requires(name) or () if ";" not in each]
    return found


def test_both_distributions_and_the_hello_have_one_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert SDK["version"] == API["version"] == SDK_VERSION
    assert f"constellation-tv=={API['version']}" in read_requirements(monkeypatch, release="1")


def test_an_installation_from_a_checkout_takes_the_api_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert f"constellation-tv @ {ROOT.as_uri()}" in read_requirements(monkeypatch)


def test_the_readme_names_everything_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = {to_name(each) for each in (*read_requirements(monkeypatch), *API["dependencies"])}

    installed = find_dependencies(*declared - {"constellation-tv"})

    assert installed == {
        "googleapis-common-protos", "grpcio", "numpy", "protobuf", "typing-extensions"
    }  # fmt: skip
    assert all(name in README for name in installed)


def test_importing_the_sdk_needs_only_what_it_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        "import constellation_settop\n"
        "new = [sys.modules[name] for name in set(sys.modules) - before]\n"
        "print(*[each.__file__ for each in new if getattr(each, '__file__', None)], sep='\\n')\n"
    )

    printed = subprocess.check_output([sys.executable, "-c", program], text=True)

    declared = find_dependencies(*map(to_name, read_requirements(monkeypatch)))
    owned = {str(each) for name in declared for each in list_files(name)}
    installed = [file for file in printed.splitlines() if "site-packages" in file]
    foreign = [file for file in installed if file not in owned]
    assert owned.intersection(installed)
    assert not [file for file in foreign if "/grpc_" not in file]  # gRPC imports them if present


def list_files(name: str) -> Iterator[Path]:
    """Yield the files of an installed distribution."""
    installed = distribution(name)
    return (Path(str(installed.locate_file(file))) for file in installed.files or ())
