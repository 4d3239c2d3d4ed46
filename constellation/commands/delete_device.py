"""`constellation delete-device`: delete a device and its patterns from the shards of a fleet."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import FAILURE, SUCCESS, USAGE_ERROR
from constellation.cli.ids import parse_device_id
from constellation.cli.printing import pluralise, print_json, print_line, print_message, to_json
from constellation.cli.remote import ask_owners, open_remotes
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote


def add_delete_device(commands: Commands) -> None:
    parser = commands.add(
        "delete-device",
        run_delete_device,
        "delete a device and its patterns from shards",
        details="A device that is still in use sends its patterns again: reset it first, or give "
        "it no new token. Exports and backups from before still have it.",
        examples=("5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b --all --yes",),
    )
    parser.add_argument(
        "device_id",
        type=parse_device_id,
        metavar="DEVICE_ID",
        help="32 hex digits, a UUID, or base64 as in JSON",
    )
    parser.add_argument(
        "--yes",
        action="store_true",
        help="do not ask for confirmation; required without a terminal",
    )
    add_connection_flags(parser, several=True, fleet=True)


async def run_delete_device(options: Namespace) -> int:
    """Delete a device after a confirmation. Raises CommandError when no shard has it."""
    name = options.device_id.hex()
    if not options.yes and not sys.stdin.isatty():
        raise CommandError(
            "delete-device cannot be undone, and there is no terminal for a confirmation: "
            "give --yes",
            USAGE_ERROR,
        )
    async with open_remotes(options) as remotes:
        if not options.yes and not _confirm(name):
            print_message("constellation: cancelled, nothing was deleted")
            return FAILURE
        deleted, is_complete = await ask_owners(
            remotes, name, lambda each: _delete(each, options.device_id), is_fleet=options.all
        )
    if options.json:
        print_json({"deleted": [{"address": at, **to_json(each)} for at, each in deleted]})
    else:
        for address, each in deleted:
            patterns = pluralise(each.pattern_count, "pattern")
            print_line(f"{name} is deleted at {address}, with {patterns}")
    return SUCCESS if is_complete else FAILURE


def _confirm(name: str) -> bool:
    sys.stderr.write(f"Delete device {name} and its patterns for good? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


async def _delete(remote: Remote, device: bytes) -> shard_pb2.DeleteDeviceResponse | None:
    request = shard_pb2.DeleteDeviceRequest(device_id=device)
    return await remote.find(remote.shard.DeleteDevice, request)
