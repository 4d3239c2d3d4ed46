"""`constellation enrol-device`: sign a vendor's claim, with which a device gets its tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from constellation.auth.device_keys import make_device_key, read_public_key
from constellation.auth.enrolment import MAX_NOTE_BYTES, Claim, derive_device_id, issue_claim
from constellation.auth.keys import read_key_ring
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import SUCCESS, USAGE_ERROR
from constellation.cli.ids import parse_device_id
from constellation.cli.parsing import (
    add_json_flag,
    complete_file_names,
    make_number_parser,
    parse_text,
)
from constellation.cli.printing import print_json, print_line

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands

_MAX_DAYS: Final = 36_500
_DEFAULT_DAYS: Final = 3650
_SECONDS_PER_DAY: Final = 86_400


def add_enrol_device(commands: Commands) -> None:
    parser = commands.add(
        "enrol-device",
        run_enrol_device,
        "sign a vendor's claim, with which a device gets its tokens",
        details="The claim says which key the device has. Shards that have the vendor's public key "
        "in VENDOR_KEYS accept it. The claim is not secret: without the device's private key it "
        "is worth nothing.",
        examples=(
            "vendor-keys.json --key device.pub --lot 2026-48 --model X1 > device.claim",
            "vendor-keys.json --key device.key --new-key > device.claim",
        ),
    )
    add_json_flag(parser)
    complete_file_names(
        parser.add_argument(
            "file",
            type=Path,
            metavar="FILE",
            help="the vendor's private keys, made by `constellation keys new --algorithm EdDSA`",
        )
    )
    complete_file_names(
        parser.add_argument(
            "--key",
            type=Path,
            required=True,
            metavar="FILE",
            help="the device's Ed25519 key in PEM, public or private",
        )
    )
    parser.add_argument(
        "--new-key", action="store_true", help="make a new private key, and write it to --key"
    )
    parser.add_argument(
        "--device-id",
        type=parse_device_id,
        metavar="DEVICE_ID",
        help="id that the vendor gave to the device (default: derived from its key)",
    )
    parser.add_argument("--lot", type=parse_text, default="", help="the device's production lot")
    parser.add_argument("--model", type=parse_text, default="", help="the device's model")
    parser.add_argument(
        "--days",
        type=make_number_parser(0.001, _MAX_DAYS),
        default=_DEFAULT_DAYS,
        metavar="DAYS",
        help=f"days until the claim expires (default: {_DEFAULT_DAYS})",
    )


async def run_enrol_device(options: Namespace) -> int:
    """Print a claim. Raises CommandError for a lot or a model that is too long."""
    for name, note in (("--lot", options.lot), ("--model", options.model)):
        if len(note.encode()) > MAX_NOTE_BYTES:
            raise CommandError(
                f"{name} must have at most {MAX_NOTE_BYTES} bytes, got {len(note.encode())}",
                USAGE_ERROR,
            )
    ring = read_key_ring(options.file)
    read_key = make_device_key if options.new_key else read_public_key
    public_key = read_key(options.key)
    device_id = options.device_id or derive_device_id(public_key)
    claim = Claim(device_id, public_key, options.lot, options.model)
    text = issue_claim(ring, claim, options.days * _SECONDS_PER_DAY)
    if options.json:
        print_json({"device_id": device_id.hex(), "claim": text})
    else:
        print_line(text)
    return SUCCESS
