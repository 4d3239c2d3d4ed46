from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import constellation_settop
from constellation_settop import Device, SettopError
from tests.clients.samples import make_catalogue

if TYPE_CHECKING:
    import pytest

    from constellation.server import RunningShard

README = (Path(__file__).parents[2] / "clients/python/README.md").read_text()
FIRST_PROGRAM, OPTIONS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


async def run_python(program: str, folder: Path) -> str:
    """Run a program in a process of its own; return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_the_first_program_recommends_and_shares_what_it_learned(
    shard: RunningShard, tmp_path: Path
) -> None:
    assert '"localhost:50051"' in FIRST_PROGRAM
    program = FIRST_PROGRAM.replace("localhost:50051", f"127.0.0.1:{shard.port}")

    printed = await run_python(program, tmp_path)

    assert printed.count("Because you watched Film 42") == 5
    assert shard.manager.table.totals.patterns == 1
    assert (tmp_path / "data/television/device.sqlite").exists()


def test_the_options_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEVICE_TOKEN", "secret")
    (tmp_path / "ca.pem").write_bytes(b"a certificate")
    names: dict[str, Any] = {}

    exec(OPTIONS, names)  # noqa: S102  # our own document

    assert names["settings"].sync.credential == "secret"
    assert names["settings"].sync.tls.root_certificates == b"a certificate"
    assert not names["occasional"].sync.stay_connected
    assert names["simulated"].keep_journal


async def test_the_calls_in_the_table_exist(tmp_path: Path) -> None:
    calls = re.findall(r"(?:\| |, )`(?:await |replay\()?device\.([a-z_.]+)", README)
    assert len(calls) == 8

    async with Device.open("127.0.0.1:1", data_dir=tmp_path, catalogue=make_catalogue()) as device:
        for path in calls:
            part: object = device
            for name in path.split("."):
                part = getattr(part, name)


def test_the_table_of_errors_is_complete() -> None:
    listed = set(re.findall(r"^\| `(\w+Error)` \|", README, flags=re.MULTILINE))

    assert listed == {each.__name__ for each in SettopError.__subclasses__()}
    assert listed < set(constellation_settop.__all__)
