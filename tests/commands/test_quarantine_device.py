from __future__ import annotations

from typing import TYPE_CHECKING

from tests.commands.test_delete_device import push
from tests.deltas import device_id

if TYPE_CHECKING:
    from tests.command_line import CommandLine


def test_a_device_is_put_into_quarantine_shown_and_put_back(
    unconfigured_cli: CommandLine, writable_shard: str
) -> None:
    push(writable_shard, 17)
    name, at = device_id(17).hex(), ("--address", writable_shard)

    put = unconfigured_cli("quarantine-device", name, "--reason", "a test", *at)
    again = unconfigured_cli("quarantine-device", name, *at)
    shown = unconfigured_cli("devices", name, *at)
    lifted = unconfigured_cli("quarantine-device", name, "--lift", *at)
    shown_later = unconfigured_cli("devices", name, *at)

    assert put.out == f"{name} is in quarantine at {writable_shard}\n"
    assert again.out == f"{name} is already in quarantine at {writable_shard}\n"
    assert "in quarantine" in shown.out
    assert lifted.out == f"{name} is not in quarantine at {writable_shard}\n"
    assert "quarantine" not in shown_later.out


def test_an_unknown_device_is_an_error(unconfigured_cli: CommandLine, writable_shard: str) -> None:
    name = device_id(18).hex()

    result = unconfigured_cli("quarantine-device", name, "--address", writable_shard)

    assert result.status == 1
    assert f"no device {name} has synced at {writable_shard}; --all searches" in result.err


def test_the_answer_is_a_json_document(unconfigured_cli: CommandLine, writable_shard: str) -> None:
    push(writable_shard, 19)
    name = device_id(19).hex()

    document = unconfigured_cli.run_json("quarantine-device", name, "--address", writable_shard)

    assert document == {
        "device_id": name,
        "quarantined": True,
        "shards": [{"address": writable_shard, "changed": True}],
    }
