from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import constellation_settop
from constellation.auth.keys import make_key_ring, write_key_ring
from constellation_settop import Device, SettopError
from tests.clients.catalogue_model import make_item
from tests.clients.samples import make_catalogue
from tests.clients.stub_shard import StubShard, serve_stub

if TYPE_CHECKING:
    import pytest

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


async def test_the_first_program_recommends_and_shares_what_it_learned(tmp_path: Path) -> None:
    assert '"localhost:50051"' in FIRST_PROGRAM
    stub = StubShard()
    stub.catalogue.add(*(make_item(f"{each % 4}-{each}", seed=each + 1) for each in range(40)))
    stub.model.catalogue_digest = stub.catalogue.digest

    async with serve_stub(stub) as address:
        printed = await run_python(FIRST_PROGRAM.replace("localhost:50051", address), tmp_path)

    assert len(printed.splitlines()) == 10
    assert "Because you watched Film" in printed
    assert len(stub.model.stored_patterns) == 1
    assert (tmp_path / "data/television/device.sqlite").exists()


def test_the_options_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEVICE_TOKEN", "secret")
    (tmp_path / "ca.pem").write_bytes(b"a certificate")
    ring = make_key_ring("EdDSA")
    write_key_ring(tmp_path / "global-keys.json", ring.to_public(), is_new=False)
    names: dict[str, Any] = {}

    exec(OPTIONS, names)  # noqa: S102  # our own document

    assert names["settings"].sync.credential == "secret"
    assert names["settings"].sync.tls.root_certificates == b"a certificate"
    assert ring.keys[0].key_id in names["pinned"].sync.global_keys
    assert not names["occasional"].sync.stay_connected
    assert names["simulated"].keep_journal


async def test_the_calls_in_the_table_exist(tmp_path: Path) -> None:
    calls = re.findall(r"(?:\| |, )`(?:await |replay\()?device\.([a-z_.]+)", README)
    assert len(calls) == 16

    async with Device.open("127.0.0.1:1", data_dir=tmp_path, catalogue=make_catalogue()) as device:
        for path in calls:
            part: object = device
            for name in path.split("."):
                part = getattr(part, name)


def test_the_table_of_errors_is_complete() -> None:
    listed = set(re.findall(r"^\| `(\w+Error)` \|", README, flags=re.MULTILINE))

    assert listed == {each.__name__ for each in SettopError.__subclasses__()}
    assert listed < set(constellation_settop.__all__)
