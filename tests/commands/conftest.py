"""Fixtures: a fleet of real processes, and commands that ask it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import constellation.__main__
import federation.__main__
from tests.commands.servers import clean_environment, open_fleet, serving_shard
from tests.scenarios.processes import Finished
from tests.scenarios.sdk_devices import free_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.commands.servers import Fleet

PROGRAMS = {"constellation": constellation.__main__.main, "federation": federation.__main__.main}


@dataclass(frozen=True)
class Asking:
    """Commands run in this process, against servers in others."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, program: str = "constellation") -> Finished:
        """Run a command to its end."""
        self.capsys.readouterr()
        try:
            status = PROGRAMS[program](arguments)
        except SystemExit as end:  # argparse
            status = int(str(end.code))
        told = self.capsys.readouterr()
        return Finished(status, told.out, told.err)

    def json(self, *arguments: str, program: str = "constellation") -> Any:
        """Return the one JSON document that a command prints."""
        finished = self(*arguments, "--json", program=program)
        assert finished.status == 0, finished.err
        assert finished.err == ""
        return json.loads(finished.out)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with open_fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def empty_shard() -> Iterator[str]:
    """The address of a shard that nobody has ever told anything."""
    address = free_address()
    with serving_shard(address):
        yield address


@pytest.fixture
def ask(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Asking:
    """Commands, in an environment that names the fleet's first shard and nothing else."""
    return make_asking(monkeypatch, capsys, GRPC_ADDR=fleet.shards[0])


@pytest.fixture
def ask_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asking:
    """Commands, in an environment without any setting."""
    return make_asking(monkeypatch, capsys)


def make_asking(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], **settings: str
) -> Asking:
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return Asking(capsys)
