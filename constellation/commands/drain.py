"""`constellation drain`: ask a shard to go away in order."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import ASKED_WRONGLY, DONE, FAILED
from constellation.cli.flags import add_flags
from constellation.cli.parsing import number_from
from constellation.cli.printing import many, print_json, tell, to_json
from constellation.cli.remote import one
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
        more="Returns at once. What keeps the process running (Kubernetes, systemd) "
        "starts it anew.",
        examples=("--address shard-0:50051", "--address shard-0:50051 --spread 120 --yes"),
    )
    parser.add_argument(
        "--spread",
        type=number_from(0, _MAX_SPREAD_SECONDS),
        metavar="SECONDS",
        help="time to spread the goodbyes over (default: the shard's DRAIN_SECONDS)",
    )
    parser.add_argument(
        "--yes", action="store_true", help="do not ask; required where nobody can be asked"
    )
    add_flags(parser)


async def run_drain(options: Namespace) -> int:
    """Drain a shard, once somebody said yes."""
    if not options.yes and not sys.stdin.isatty():
        raise CommandError(
            "drain ends the shard's process, and there is no terminal to ask on: give --yes",
            ASKED_WRONGLY,
        )
    async with one(options) as remote:
        if not options.yes:
            info = await remote.ask(remote.shard.GetInfo, shard_pb2.GetInfoRequest())
            stats = await remote.ask(remote.shard.GetStats, shard_pb2.GetStatsRequest())
            tell(
                f"Shard {info.shard_id} of {info.region} at {remote.address} has "
                f"{many(stats.streams, 'stream')}. Its process will end."
            )
            if not _confirmed():
                tell("constellation: not drained")
                return FAILED
        request = shard_pb2.DrainRequest()
        if options.spread is not None:
            request.spread.FromNanoseconds(int(options.spread * 1e9))
        told = await remote.ask(remote.shard.Drain, request)
    if options.json:
        print_json({"address": remote.address, **to_json(told)})
    else:
        print(f"{remote.address} drains: {many(told.streams, 'stream')} asked to leave")
    return DONE


def _confirmed() -> bool:
    sys.stderr.write("Drain it? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
