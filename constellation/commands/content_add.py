"""`constellation content add`: add the content items of a file to the catalogues of shards."""

from __future__ import annotations

import asyncio
import re
from itertools import islice
from typing import TYPE_CHECKING, Final

from constellation.cli.content_lines import parse_lines, to_content
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.files import open_input
from constellation.cli.flags import add_connection_flags
from constellation.cli.parsing import complete_file_names
from constellation.cli.printing import format_count, pluralise, print_json, print_line
from constellation.cli.progress import show_progress
from constellation.cli.remote import open_remotes
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from constellation.cli.content_lines import CatalogueLine
    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_BATCH_SIZE: Final = 256
_FIELD_PATH: Final = re.compile(r"contents\[(\d+)\]\.?(.*)", re.DOTALL)
"""How a shard's error message names a field of one content item of a request."""


def add_content_add(group: Commands) -> None:
    parser = group.add(
        "add",
        run_add,
        "add content items to the catalogues of shards, from JSON Lines with embeddings",
        details="Existing content items are replaced, so a file may be added twice. Every shard "
        "has its own catalogue: --all adds to all of them.",
        examples=("catalogue.jsonl --all", "- < catalogue.jsonl"),
    )
    complete_file_names(
        parser.add_argument(
            "file",
            metavar="FILE",
            help='a file that `constellation content embed` wrote; "-" is standard input',
        )
    )
    add_connection_flags(parser, several=True, fleet=True)


async def run_add(options: Namespace) -> int:
    """Add every content item of a file to each shard.

    Raises CommandError, which names the first line that is invalid or that a shard rejects.
    """
    added = replaced = 0
    async with open_remotes(options) as remotes:
        with (
            open_input(options.file) as (file, size_bytes),
            show_progress("Adding", size_bytes) as advance,
        ):
            entries = parse_lines(options.file, file, advance)
            stored = 0
            while batch := list(islice(entries, _BATCH_SIZE)):
                responses = await _add_batch(remotes, batch, stored)
                stored += len(batch)
                added += responses[0].added_count
                replaced += responses[0].replaced_count
    if options.json:
        print_json(
            {
                "addresses": [remote.address for remote in remotes],
                "added_count": added,
                "replaced_count": replaced,
            }
        )
    else:
        addresses = ", ".join(remote.address for remote in remotes)
        count = pluralise(added, "content item")
        print_line(f"{count} added, {format_count(replaced)} replaced at {addresses}")
    return SUCCESS


async def _add_batch(
    remotes: Sequence[Remote], batch: Sequence[CatalogueLine], stored: int
) -> Sequence[shard_pb2.AddContentResponse]:
    """Add one batch to each shard; `stored` is how many content items were added before."""
    request = shard_pb2.AddContentRequest(contents=[to_content(entry) for entry in batch])
    try:
        return await asyncio.gather(
            *(each.call(each.shard.AddContent, request) for each in remotes)
        )
    except CommandError as error:
        before = f"; stored before it: {pluralise(stored, 'content item')}" if stored else ""
        raise CommandError(f"{_locate_problem(str(error), batch)}{before}") from error


def _locate_problem(problem: str, batch: Sequence[CatalogueLine]) -> str:
    """Replace the position in a request, which a shard names, by the line of the file."""
    if (found := _FIELD_PATH.search(problem)) is None:
        return problem
    return f"{batch[int(found[1])].location}: {found[2]}"
