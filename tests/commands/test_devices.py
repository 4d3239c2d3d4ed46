from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

if TYPE_CHECKING:
    from tests.command_line import CommandLine
    from tests.servers import RunningFleet

UNKNOWN_DEVICE = "5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b"


def test_devices_of_every_shard_are_listed_with_their_shard(
    cli: CommandLine, fleet: RunningFleet
) -> None:
    finished = cli("devices", "--all")

    head, *rows, summary = finished.out.splitlines()
    assert head.split() == ["device", "patterns", "deltas", "last", "sync", "shard"]
    listed = {row.split()[0]: row.split()[-1] for row in rows}
    assert listed == {
        device.hex(): address
        for address, devices in zip(fleet.shard_addresses, fleet.device_ids, strict=True)
        for device in devices
    }
    assert summary == "24 devices"


def test_a_limit_says_that_more_exist(cli: CommandLine) -> None:
    finished = cli("devices", "--limit", "1")

    assert len(finished.out.splitlines()) == 3
    assert finished.out.endswith("\n1 device; more exist: list all with --limit 0\n")


def test_devices_as_json_are_read_back_by_the_command(
    cli: CommandLine, fleet: RunningFleet
) -> None:
    document = cli.run_json("devices", "--limit", "1")
    (listed,) = document["shards"]
    (device,) = listed["devices"]

    found = cli.run_json("devices", device["device_id"])

    assert listed["address"] == found["address"] == fleet.shard_addresses[0]
    assert listed["more"] is True
    assert found["device"] == device
    assert base64.b64decode(device["device_id"]) in fleet.device_ids[0]


@pytest.mark.parametrize("form", ["hex", "uuid"])
def test_a_device_is_found_on_the_shard_that_has_it(
    cli: CommandLine, fleet: RunningFleet, form: str
) -> None:
    device = fleet.device_ids[1][0]
    asked = device.hex() if form == "hex" else str(UUID(bytes=device))

    finished = cli("devices", asked, "--all")

    assert finished.status == 0
    title, details, head, *rows, liked = finished.out.splitlines()
    assert liked == "  liked, the latest first: Solaris (1972)"
    assert title == f"Device {device.hex()} at {fleet.shard_addresses[1]}"
    assert details.startswith("  2 patterns, 1 delta, last sync ")
    assert head.split() == ["success", "views", "context", "updated", "genres", "titles"]
    assert len(rows) == 2
    assert any(row.endswith("Ran [1985 cut] (1972)") for row in rows)


def test_an_unknown_device_is_named_with_where_else_to_look(
    cli: CommandLine, fleet: RunningFleet
) -> None:
    finished = cli("devices", UNKNOWN_DEVICE)

    assert finished.status == 1
    assert finished.out == ""
    assert finished.err == (
        f"constellation: no device {UNKNOWN_DEVICE} has synced at {fleet.shard_addresses[0]}; "
        "--all searches every shard of the shard map\n"
    )


def test_a_wrong_device_id_is_a_usage_error(cli: CommandLine) -> None:
    finished = cli("devices", "00ff")

    assert finished.status == 2
    assert "must be 32 hex digits, a UUID or 16 bytes in base64, got '00ff'" in finished.err


def test_an_empty_shard_has_no_devices_yet(unconfigured_cli: CommandLine, empty_shard: str) -> None:
    assert unconfigured_cli("devices", "--address", empty_shard).out == "no devices yet\n"


def test_no_device_is_connected_where_none_holds_a_stream(cli: CommandLine) -> None:
    assert cli("devices", "--connected").out == "no device is connected\n"
