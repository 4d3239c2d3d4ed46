"""`constellation drain`: ask a shard to go away in order."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import FAILURE, SUCCESS, USAGE_ERROR
from constellation.cli.flags import add_connection_flags
from constellation.cli.parsing import make_number_parser
from constellation.cli.printing import pluralise, print_json, print_message, to_json
from constellation.cli.remote import open_remote
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands

_MAX_SPREAD_SECONDS: Final = 3600


def add_drain(commands: Commands) -> None:
    parser = commands.add(
        "drain",
        run_drain,
        "ask a shard to go away: no new streams, goodbyes one by one, then its process ends",
        details="Returns at once. What keeps the process running (Kubernetes, systemd) "
        "starts it anew.",
        examples=("--address shard-0:50051", "--address shard-0:50051 --spread 120 --yes"),
    )
    parser.add_argument(
        "--spread",
        type=make_number_parser(0, _MAX_SPREAD_SECONDS),
        metavar="SECONDS",
        help="time to spread the goodbyes over (default: the shard's DRAIN_SECONDS)",
    )
    parser.add_argument(
        "--yes", action="store_true", help="do not ask; required where nobody can be asked"
    )
    add_connection_flags(parser)


async def run_drain(options: Namespace) -> int:
    """Drain a shard, once somebody said yes."""
    if not options.yes and not sys.stdin.isatty():
        raise CommandError(
            "drain ends the shard's process, and there is no terminal to ask on: give --yes",
            USAGE_ERROR,
        )
    async with open_remote(options) as remote:
        if not options.yes:
            info = await remote.call(remote.shard.GetInfo, shard_pb2.GetInfoRequest())
            stats = await remote.call(remote.shard.GetStats, shard_pb2.GetStatsRequest())
            print_message(
                f"Shard {info.shard_id} of {info.region} at {remote.address} has "
                f"{pluralise(stats.streams, 'stream')}. Its process will end."
            )
            if not _confirm():
                print_message("constellation: not drained")
                return FAILURE
        request = shard_pb2.DrainRequest()
        if options.spread is not None:
            request.spread.FromNanoseconds(int(options.spread * 1e9))
        response = await remote.call(remote.shard.Drain, request)
    if options.json:
        print_json({"address": remote.address, **to_json(response)})
    else:
        print(f"{remote.address} drains: {pluralise(response.streams, 'stream')} asked to leave")
    return SUCCESS


def _confirm() -> bool:
    sys.stderr.write("Drain it? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
