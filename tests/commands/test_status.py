from __future__ import annotations

import json
import re
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.v1 import sync_pb2
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from testing.ports import find_free_address
from tests.servers import DEADLINE_SECONDS, run_server, run_shard_server
from tests.sync_client import make_hello

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.command_line import CommandLine
    from tests.servers import RunningFleet


def test_status_prints_the_identity_and_the_size_of_a_shard(
    cli: CommandLine, fleet: RunningFleet
) -> None:
    finished = cli("status")

    assert finished.status == 0
    assert finished.err == ""
    assert finished.out.startswith(f"Shard 0 of north at {fleet.shard_addresses[0]}: healthy\n")
    devices = len(fleet.device_ids[0])
    assert f"  devices      {devices} of at most 4,000,000, {devices} active, 0 streams\n" in (
        finished.out
    )
    assert "  catalogue    5 content items\n" in finished.out
    assert f"; {devices} liked content items of {devices} devices\n" in finished.out
    assert re.search(r"^  round        1, \d+ clusters?, codebook 1$", finished.out, re.MULTILINE)


def test_status_of_several_shards_is_a_table(cli: CommandLine, fleet: RunningFleet) -> None:
    head, *rows, summary = cli("status", "--all").out.splitlines()

    assert head.split()[:5] == ["shard", "address", "region", "health", "epoch"]
    assert [row.split()[:4] for row in rows] == [
        ["0", fleet.shard_addresses[0], "north", "healthy"],
        ["1", fleet.shard_addresses[1], "south", "healthy"],
    ]
    assert summary == "2 of 2 shards answered: 24 devices, 0 streams, 48 patterns"


def test_status_as_json_names_every_shard(cli: CommandLine, fleet: RunningFleet) -> None:
    document = cli.run_json("status", "--all")

    assert [each["address"] for each in document["shards"]] == fleet.shard_addresses
    assert [each["info"]["region"] for each in document["shards"]] == ["north", "south"]
    assert {each["health"]["status"] for each in document["shards"]} == {"HEALTH_STATUS_HEALTHY"}
    assert sum(int(each["stats"]["patterns"]) for each in document["shards"]) == 48


def test_status_fails_when_one_of_several_does_not_answer(
    cli: CommandLine, fleet: RunningFleet
) -> None:
    unused_address = find_free_address()

    finished = cli("status", "--address", f"{fleet.shard_addresses[0]},{unused_address}")

    assert finished.status == 1
    assert re.search(rf"^ +\? +{unused_address} +unreachable$", finished.out, re.MULTILINE)
    assert "1 of 2 shards answered" in finished.out
    assert finished.err == (
        f"constellation: GetInfo at {unused_address}: connection refused: is the process running, "
        "and is this its gRPC port?\n"
    )


def test_an_empty_shard_has_had_no_round(unconfigured_cli: CommandLine, empty_shard: str) -> None:
    finished = unconfigured_cli("status", "--address", empty_shard)

    assert "  devices      0 of at most 4,000,000, 0 active, 0 streams\n" in finished.out
    assert "  round        none yet\n" in finished.out
    related = "0 rows and 0 popular lists; 0 liked content items of 0 devices"
    assert f"  related      {related}\n" in finished.out


@contextmanager
def hold_stream(address: str) -> Iterator[None]:
    """Hold a stream open until the block ends, whatever the shard asks of it."""
    frames: SimpleQueue[sync_pb2.SyncRequest | None] = SimpleQueue()
    frames.put(sync_pb2.SyncRequest(hello=make_hello()))
    with grpc.insecure_channel(address) as channel:
        sync: Any = SyncServiceStub(channel)
        answers = sync.Sync(iter(frames.get, None), timeout=DEADLINE_SECONDS)
        next(answers)
        try:
            yield
        finally:
            frames.put(None)
            answers.cancel()


def test_a_degraded_shard_is_status_3(unconfigured_cli: CommandLine) -> None:
    address = find_free_address()
    with run_shard_server(address, max_streams=1), hold_stream(address):
        finished = unconfigured_cli("status", "--address", address)

    assert finished.status == 3
    assert finished.out.startswith(f"Shard 0 of default at {address}: degraded\n")
    assert finished.err == ""


def test_a_draining_shard_is_called_so(unconfigured_cli: CommandLine, empty_shard: str) -> None:
    address = find_free_address()
    with run_shard_server(address), hold_stream(address):
        unconfigured_cli("drain", "--address", address, "--yes", "--spread", "600")

        alone = unconfigured_cli("status", "--address", address)
        both = unconfigured_cli("status", "--address", f"{empty_shard},{address}")

    assert (alone.status, both.status) == (3, 3)
    assert alone.out.startswith(f"Shard 0 of default at {address}: draining\n")
    assert re.search(rf"^ +0 +{address} +default +draining ", both.out, re.MULTILINE)


def test_a_waiting_spare_is_called_so(unconfigured_cli: CommandLine, postgres_url: str) -> None:
    active, spare = find_free_address(), find_free_address()
    waiting = {"ready_event": "waiting_for_lease", "postgres_url": postgres_url}
    with (
        run_shard_server(active, postgres_url=postgres_url),
        run_server("constellation", "serve", grpc_addr=spare, **waiting),
    ):
        alone = unconfigured_cli("status", "--address", spare)
        both = unconfigured_cli("status", "--address", f"{active},{spare}")
        watched = unconfigured_cli("top", "--address", spare, "--interval", "0.05")
        document = unconfigured_cli("status", "--address", spare, "--json")

    waits = "waiting to be the shard's one writer"
    assert (alone.status, both.status, document.status) == (3, 3, 3)
    assert alone.out.splitlines()[:2] == [
        f"Process at {spare}: {waits}",
        f"  traffic  degraded: {waits}",
    ]
    assert re.search(rf"^ +\? +{spare} +{waits}$", both.out, re.MULTILINE)
    assert both.out.splitlines()[-1].startswith("2 of 2 shards answered: ")
    assert "unreachable" not in watched.out + both.out
    (shard,) = json.loads(document.out)["shards"]
    assert (shard["info"], shard["stats"]) == (None, None)
    assert shard["health"]["components"][0]["message"] == waits


@pytest.mark.parametrize("command", ["status", "devices", "top", "log-level"])
def test_all_shards_of_the_environment_are_called_while_one_is_down(
    unconfigured_cli: CommandLine,
    fleet: RunningFleet,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    """GRPC_ADDR, and shard 0, are down; nobody else knows the map."""
    down, up = find_free_address(), fleet.shard_addresses[1]
    monkeypatch.setenv("SHARD_MAP", f"0={down},1={up}")
    monkeypatch.setenv("GRPC_ADDR", down)
    quick = ("--interval", "0.05") if command == "top" else ()

    finished = unconfigured_cli(command, "--all", *quick)

    expected = fleet.device_ids[1][0].hex() if command == "devices" else up
    assert expected in finished.out
    assert f" at {down}: connection refused" in finished.out + finished.err
    assert finished.status == (0 if command == "top" else 1)


def test_a_device_is_found_while_another_shard_is_down(
    unconfigured_cli: CommandLine, fleet: RunningFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    down, up = find_free_address(), fleet.shard_addresses[1]
    monkeypatch.setenv("SHARD_MAP", f"0={down},1={up}")

    found = unconfigured_cli("devices", fleet.device_ids[1][0].hex(), "--all")
    unknown = unconfigured_cli("devices", "ff" * 16, "--all")

    assert (found.status, found.err) == (0, "")
    assert unknown.status == 1
    assert f" at {down}: connection refused" in unknown.err.splitlines()[0]
    assert "no device ffffffff" in unknown.err.splitlines()[1]
