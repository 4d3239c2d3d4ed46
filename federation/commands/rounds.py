"""`federation rounds`: the journal, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.cli.exit_codes import DONE
from constellation.cli.flags import add_flags
from constellation.cli.parsing import number_from
from constellation.cli.printing import (
    ago,
    count,
    make_console,
    many,
    print_json,
    to_json,
)
from constellation.cli.remote import one
from constellation.cli.tables import Column, Table, number, words
from constellation.v1 import federation_pb2 as pb
from federation.printing import coverage_share, seconds, state_word

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_LIMIT: Final = 20
_PAGE: Final = 100
_NONE: Final = "no rounds yet: `federation round --run` runs one"


def add_rounds(commands: Commands) -> None:
    parser = commands.add(
        "rounds",
        run_rounds,
        "list the rounds of a federation, newest first",
        examples=("", "--limit 100 --json | jq '.rounds[].coverage'"),
    )
    parser.add_argument(
        "--limit",
        type=number_from(0, 1e6, whole=True),
        default=_LIMIT,
        metavar="N",
        help="at most so many; 0: all (default: %(default)s)",
    )
    add_flags(parser)


async def run_rounds(options: Namespace) -> int:
    """Print the newest rounds."""
    async with one(options) as remote:
        rounds, more = await _pages(remote, options.limit or float("inf"))
    if options.json:
        print_json({"rounds": [to_json(told) for told in rounds], "more": more})
        return DONE
    columns = (
        number("round"),
        Column("closed", is_spare=True),
        words("state"),
        number("shards"),
        number("devices"),
        number("clusters"),
        number("trends"),
        number("took", is_spare=True),
    )
    table = Table(columns)
    for told in rounds:
        table.add(*_cells(told))
    console = make_console()
    table.print(console)
    follow = "; more follow: --limit 0 lists all" if more else ""
    shown = many(len(rounds), "round") if rounds else _NONE
    console.print(f"[dim]{shown}{follow}[/]")
    return DONE


async def _pages(remote: Remote, limit: float) -> tuple[list[pb.Round], bool]:
    rounds: list[pb.Round] = []
    token = ""
    while len(rounds) < limit:
        page = await remote.ask(
            remote.federation.ListRounds,
            pb.ListRoundsRequest(page_size=int(min(_PAGE, limit - len(rounds))), page_token=token),
        )
        rounds += page.rounds
        token = page.next_page_token
        if not token:
            break
    return rounds, bool(token)


def _cells(told: pb.Round) -> tuple[str, ...]:
    coverage = told.coverage
    took = seconds(told.pull_time) + seconds(told.merge_time) + seconds(told.publish_time)
    return (
        str(told.round_id),
        ago(told.closed_at.ToNanoseconds() / 1e9) if told.HasField("closed_at") else "",
        state_word(told.state).partition(":")[0],
        f"{coverage.shards_heard} of {coverage.shards_known}",
        f"{count(coverage.devices_heard)} ({coverage_share(coverage):.0%})",
        count(told.cluster_count),
        count(told.trend_count),
        f"{took:.2f} s",
    )
