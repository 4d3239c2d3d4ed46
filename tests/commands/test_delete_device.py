from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from constellation.v1.sync_pb2_grpc import SyncServiceStub
from tests.deltas import PatternSpec, device_id
from tests.sync_client import make_delta_message, make_push

if TYPE_CHECKING:
    from tests.command_line import CommandLine


def push(address: str, number: int) -> None:
    delta = make_delta_message(1, [PatternSpec(1), PatternSpec(2)])
    with grpc.insecure_channel(address) as channel:
        SyncServiceStub(channel).Exchange(make_push(number, delta))


def test_a_device_is_deleted_once(unconfigured_cli: CommandLine, writable_shard: str) -> None:
    push(writable_shard, 7)
    name, at = device_id(7).hex(), ("--address", writable_shard)

    asked = unconfigured_cli("delete-device", name, *at)
    deleted = unconfigured_cli("delete-device", name, "--yes", *at)
    again = unconfigured_cli("delete-device", name, "--yes", *at)

    assert asked.status == 2
    assert "there is no terminal for a confirmation: give --yes" in asked.err
    assert deleted.out == f"{name} is deleted at {writable_shard}, with 2 patterns\n"
    assert again.status == 1
    assert f"no device {name} has synced at {writable_shard}; --all searches" in again.err


def test_a_deletion_is_a_json_document(unconfigured_cli: CommandLine, writable_shard: str) -> None:
    push(writable_shard, 8)

    document = unconfigured_cli.run_json(
        "delete-device", device_id(8).hex(), "--yes", "--address", writable_shard
    )

    assert document == {"deleted": [{"address": writable_shard, "pattern_count": 2}]}
