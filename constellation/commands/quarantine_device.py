"""`constellation quarantine-device`: take a device out of what others see, or put it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.exit_codes import FAILURE, SUCCESS
from constellation.cli.ids import parse_device_id
from constellation.cli.parsing import parse_text
from constellation.cli.printing import print_json, print_line
from constellation.cli.remote import ask_owners, open_remotes
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote


def add_quarantine_device(commands: Commands) -> None:
    parser = commands.add(
        "quarantine-device",
        run_quarantine_device,
        "take a device out of everything that others see, or put it back",
        details="The device goes on syncing and recommending. Its patterns leave what others see "
        "at once, and the hourly counts behind the trends within a week.",
        examples=(
            '5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b --reason "one of 40 devices with one pattern"',
            "5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b --lift --all",
        ),
    )
    parser.add_argument(
        "device_id",
        type=parse_device_id,
        metavar="DEVICE_ID",
        help="32 hex digits, a UUID, or base64 as in JSON",
    )
    parser.add_argument("--lift", action="store_true", help="put the device back")
    parser.add_argument(
        "--reason", type=parse_text, default="", metavar="TEXT", help="why, for the shard's log"
    )
    add_connection_flags(parser, several=True, fleet=True)


async def run_quarantine_device(options: Namespace) -> int:
    """Put a device into quarantine, or lift it. Raises CommandError when no shard has it."""
    name = options.device_id.hex()
    request = shard_pb2.QuarantineDeviceRequest(
        device_id=options.device_id, lift=options.lift, reason=options.reason
    )
    async with open_remotes(options) as remotes:
        done, is_complete = await ask_owners(
            remotes, name, lambda each: _quarantine(each, request), is_fleet=options.all
        )
    if options.json:
        print_json(
            {
                "device_id": name,
                "quarantined": not options.lift,
                "shards": [{"address": at, "changed": each.changed} for at, each in done],
            }
        )
    else:
        for address, each in done:
            already = "" if each.changed else "already "
            state = "not in quarantine" if options.lift else "in quarantine"
            print_line(f"{name} is {already}{state} at {address}")
    return SUCCESS if is_complete else FAILURE


async def _quarantine(
    remote: Remote, request: shard_pb2.QuarantineDeviceRequest
) -> shard_pb2.QuarantineDeviceResponse | None:
    return await remote.find(remote.shard.QuarantineDevice, request)
