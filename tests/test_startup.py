from __future__ import annotations

import re
import stat
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from constellation.startup import _SERVER_MODULES
from testing.ports import find_free_address
from tests.servers import run_shard_server, run_subprocess

ROOT = Path(__file__).parents[1]


def test_every_package_of_the_extra_is_looked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["server"]

    assert list(_SERVER_MODULES) == [re.split(r"[\[>]", each)[0] for each in extra]


@pytest.mark.parametrize("program", ["constellation", "federation"])
def test_without_the_extra_the_program_says_what_to_install(tmp_path: Path, program: str) -> None:
    for package in ("grpc", "google"):
        spec = find_spec(package)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        (tmp_path / package).symlink_to(next(iter(spec.submodule_search_locations)))

    finished = subprocess.run(
        [sys.executable, "-S", "-m", program, "--help"],  # without site-packages
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=False,
        text=True,
    )

    assert finished.returncode == 1
    assert finished.stdout == ""
    assert finished.stderr == (
        f"{program}: the package cryptography is missing: install constellation-tv[server], "
        "for example with `pip install 'constellation-tv[server]'`\n"
    )


def test_what_a_shard_and_its_commands_write_is_private(tmp_path: Path) -> None:
    store, archive = tmp_path / "store", tmp_path / "archive.jsonl"
    with run_shard_server(find_free_address(), data_dir=store):
        pass
    exported = run_subprocess("constellation", "export", str(archive), data_dir=store)

    assert exported.status == 0
    files = [store, archive, *store.iterdir()]
    assert {path.name: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in files} == {
        path.name: 0 for path in files
    }
