"""`constellation content add`: a catalogue from a file into shards."""

from __future__ import annotations

import asyncio
import re
from itertools import islice
from typing import TYPE_CHECKING, Final

from constellation.cli.content_lines import parse, to_content
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import DONE
from constellation.cli.files import read
from constellation.cli.flags import add_flags
from constellation.cli.parsing import completes_files
from constellation.cli.printing import count, many, print_json
from constellation.cli.progress import progress
from constellation.cli.remote import several
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from constellation.cli.content_lines import Entry
    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_BATCH: Final = 256
_PLACE: Final = re.compile(r"contents\[(\d+)\]\.?(.*)", re.DOTALL)
"""How a shard names an entry of a request."""


def add_content_add(group: Commands) -> None:
    parser = group.add(
        "add",
        run_add,
        "add contents to the catalogue of shards, from JSON Lines with embeddings",
        more="A content that is there is replaced, so a file may be added twice. Every shard has "
        "a catalogue of its own: --all fills them all.",
        examples=("catalogue.jsonl --all", "- < catalogue.jsonl"),
    )
    completes_files(
        parser.add_argument(
            "file",
            metavar="FILE",
            help='what `constellation content embed` wrote; "-": standard input',
        )
    )
    add_flags(parser, several=True, fleet=True)


async def run_add(options: Namespace) -> int:
    """Add every content of a file."""
    added = replaced = 0
    async with several(options) as remotes:
        with (
            read(options.file) as (file, size_bytes),
            progress("Adding", size_bytes) as advance,
        ):
            entries = parse(options.file, file, advance)
            stored = 0
            while batch := list(islice(entries, _BATCH)):
                answers = await _add(remotes, batch, stored)
                stored += len(batch)
                added += answers[0].added_count
                replaced += answers[0].replaced_count
    if options.json:
        print_json(
            {
                "addresses": [remote.address for remote in remotes],
                "added_count": added,
                "replaced_count": replaced,
            }
        )
    else:
        places = ", ".join(remote.address for remote in remotes)
        print(f"{many(added, 'content')} added, {count(replaced)} replaced at {places}")
    return DONE


async def _add(
    remotes: Sequence[Remote], batch: Sequence[Entry], stored: int
) -> Sequence[shard_pb2.AddContentResponse]:
    request = shard_pb2.AddContentRequest(contents=[to_content(entry) for entry in batch])
    try:
        return await asyncio.gather(*(each.ask(each.shard.AddContent, request) for each in remotes))
    except CommandError as error:
        before = f"; what came before, {many(stored, 'content')}, is stored" if stored else ""
        raise CommandError(f"{_with_line(str(error), batch)}{before}") from error


def _with_line(problem: str, batch: Sequence[Entry]) -> str:
    """Name the line of the entry that a shard refused."""
    if (found := _PLACE.search(problem)) is None:
        return problem
    return f"{batch[int(found[1])].where}: {found[2]}"
