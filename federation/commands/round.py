"""`federation round`: print one round, or run one and print it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import FAILURE, SUCCESS, USAGE_ERROR
from constellation.cli.parsing import make_number_parser
from constellation.cli.printing import make_console, print_json, to_json
from constellation.cli.remote import open_remote
from constellation.config_loader import load_config
from constellation.v1 import federation_pb2 as pb
from federation.commands.once import run_once
from federation.commands.startup import configure_federation
from federation.config import FederationConfig
from federation.printing import NO_ROUNDS_MESSAGE, is_taken, print_round

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_ROUND_TIMEOUT_SECONDS: Final = 300.0
"""The time limit of `--run` when --timeout is not given."""
_MAX_ROUND_ID: Final = 2**63 - 1


def add_round(commands: Commands) -> None:
    parser = commands.add(
        "round",
        run_round,
        "print a round: which shards contributed, and what was published",
        details="Fails when the round was not published, or no shard took it.",
        examples=("", "17", "--run", "--once"),
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "round_id",
        nargs="?",
        type=make_number_parser(1, _MAX_ROUND_ID, is_integer=True),
        metavar="ROUND_ID",
        help="number of the round (default: the newest)",
    )
    which.add_argument(
        "--run",
        dest="run_now",
        action="store_true",
        help="make the running federation run a round now, and print it",
    )
    which.add_argument(
        "--once",
        action="store_true",
        help="run a round in this process, over the shards of SHARD_ADDRS, and print it",
    )
    add_connection_flags(parser)


async def run_round(options: Namespace) -> int:
    """Print one round, after running it with `--run` or `--once`; fail if no shard has it."""
    report = await (_run_here(options) if options.once else _ask_federation(options))
    if options.json:
        print_json(to_json(report))
    else:
        print_round(make_console(), report)
    is_published = report.state == pb.ROUND_STATE_PUBLISHED and is_taken(report)
    return SUCCESS if is_published else FAILURE


async def _run_here(options: Namespace) -> pb.Round:
    if options.address:
        raise CommandError("--once runs a round in this process: omit --address", USAGE_ERROR)
    return await run_once(configure_federation())


async def _ask_federation(options: Namespace) -> pb.Round:
    async with open_remote(options) as remote:
        try:
            return await (
                _run_remote(remote, options) if options.run_now else _fetch_round(remote, options)
            )
        except CommandError as error:
            if options.address or not error.is_connection_error:
                raise
            grpc_addr = load_config(FederationConfig).grpc_addr
            raise CommandError(
                f"no federation is reachable at GRPC_ADDR={grpc_addr}: start `federation run`, "
                f"or run a round in this process with --once ({error})"
            ) from error


async def _run_remote(remote: Remote, options: Namespace) -> pb.Round:
    response = await remote.call(
        remote.federation.RunRound,
        pb.RunRoundRequest(),
        timeout_seconds=options.timeout or _ROUND_TIMEOUT_SECONDS,
    )
    return response.round


async def _fetch_round(remote: Remote, options: Namespace) -> pb.Round:
    response = await remote.find(
        remote.federation.GetRound, pb.GetRoundRequest(round_id=options.round_id or 0)
    )
    if response is not None:
        return response.round
    if options.round_id:
        raise CommandError(
            f"{remote.address} has no round {options.round_id}; `federation rounds` lists them"
        )
    raise CommandError(f"{remote.address} has {NO_ROUNDS_MESSAGE}")
