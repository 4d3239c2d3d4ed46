"""`constellation drain`: close a shard's streams gradually, then stop its process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import FAILURE, SUCCESS, USAGE_ERROR
from constellation.cli.parsing import make_number_parser
from constellation.cli.printing import pluralise, print_json, print_line, print_message, to_json
from constellation.cli.remote import open_remote
from constellation.transport.codec.times import to_duration
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_MAX_SPREAD_SECONDS: Final = 3600


def add_drain(commands: Commands) -> None:
    parser = commands.add(
        "drain",
        run_drain,
        "drain a shard: refuse new streams, close the open ones gradually, then stop its process",
        details="Returns at once. A process manager (Kubernetes, systemd) restarts the process.",
        examples=("--address shard-0:50051", "--address shard-0:50051 --spread 120 --yes"),
    )
    parser.add_argument(
        "--spread",
        type=make_number_parser(0, _MAX_SPREAD_SECONDS),
        metavar="SECONDS",
        help="time over which the streams are closed (default: the shard's DRAIN_SECONDS)",
    )
    parser.add_argument(
        "--yes",
        action="store_true",
        help="do not ask for confirmation; required without a terminal",
    )
    add_connection_flags(parser)


async def run_drain(options: Namespace) -> int:
    """Drain a shard after a confirmation.

    Raises CommandError without `--yes` where there is no terminal to ask on.
    """
    if not options.yes and not sys.stdin.isatty():
        raise CommandError(
            "drain stops the shard's process, and there is no terminal for a confirmation: "
            "give --yes",
            USAGE_ERROR,
        )
    async with open_remote(options) as remote:
        if not options.yes and not await _confirm(remote):
            print_message("constellation: cancelled, nothing was drained")
            return FAILURE
        request = shard_pb2.DrainRequest()
        if options.spread is not None:
            request.spread.CopyFrom(to_duration(options.spread))
        response = await remote.call(remote.shard.Drain, request)
    if options.json:
        print_json({"address": remote.address, **to_json(response)})
    else:
        streams = pluralise(response.streams, "stream")
        print_line(f"{remote.address} is draining: {streams} to close")
    return SUCCESS


async def _confirm(remote: Remote) -> bool:
    """Say which shard will stop, and return whether the person at the terminal agrees."""
    info = await remote.call(remote.shard.GetInfo, shard_pb2.GetInfoRequest())
    stats = await remote.call(remote.shard.GetStats, shard_pb2.GetStatsRequest())
    print_message(
        f"Shard {info.shard_id} of {info.region} at {remote.address} has "
        f"{pluralise(stats.streams, 'stream')}. Its process will stop."
    )
    sys.stderr.write("Drain it? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
