"""`constellation revoke-device`: add a device to a list that shards and federations read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from constellation.auth.revocations import append_revoked
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.ids import parse_device_id
from constellation.cli.parsing import add_json_flag, complete_file_names, parse_text
from constellation.cli.printing import print_json, print_line

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands


def add_revoke_device(commands: Commands) -> None:
    parser = commands.add(
        "revoke-device",
        run_revoke_device,
        "refuse a device from now on, whatever token or claim it has",
        details="The file is REVOKED_DEVICES of a shard, which ends the device's stream within two "
        "seconds, or of a federation, which informs all shards with its next round. What the "
        "device has shared stays: see `constellation delete-device`.",
        examples=("revoked.txt 5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b --reason stolen",),
    )
    add_json_flag(parser)
    complete_file_names(
        parser.add_argument("file", type=Path, metavar="FILE", help="the file; made when missing")
    )
    parser.add_argument(
        "device_id",
        type=parse_device_id,
        metavar="DEVICE_ID",
        help="32 hex digits, a UUID, or base64 as in JSON",
    )
    parser.add_argument(
        "--reason", type=parse_text, default="", metavar="TEXT", help="note for people in the file"
    )


async def run_revoke_device(options: Namespace) -> int:
    """Add a device to a file. Raises ConfigError when the file is wrong or cannot be written."""
    reason = " ".join(options.reason.split())
    is_new = append_revoked(options.file, options.device_id, reason)
    name = options.device_id.hex()
    if options.json:
        print_json({"device_id": name, "added": is_new})
    else:
        print_line(f"{name} is {'revoked' if is_new else 'revoked already'} in {options.file}")
    return SUCCESS
