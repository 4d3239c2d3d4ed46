"""`constellation content add`: add the content items of a file to the catalogues of shards."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.content_lines import (
    MAX_LINE_BYTES,
    CatalogueLine,
    parse_lines,
    to_content,
)
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.files import open_input, read_lines
from constellation.cli.parsing import complete_file_names
from constellation.cli.printing import format_count, pluralise, print_json, print_line
from constellation.cli.progress import show_progress
from constellation.cli.remote import open_remotes
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Iterator, Sequence

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_BATCH_SIZE: Final = 256
_BATCH_BYTES: Final = 1 << 19
"""Half of what a shard takes in one request."""
_FIELD_PATH: Final = re.compile(r"contents\[(\d+)\]\.?(.*)", re.DOTALL)
"""How a shard's error message names a field of one content item of a request."""

_Batch = list[tuple[CatalogueLine, shard_pb2.Content]]


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
            lines = read_lines(file, options.file, MAX_LINE_BYTES)
            stored = 0
            for batch in _make_batches(parse_lines(options.file, lines, advance)):
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


def _make_batches(entries: Iterable[CatalogueLine]) -> Iterator[_Batch]:
    """Yield the content items of lines together, as many as one request may have."""
    batch: _Batch = []
    size_bytes = 0
    for entry in entries:
        content = to_content(entry)
        if batch and (len(batch) == _BATCH_SIZE or size_bytes + content.ByteSize() > _BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append((entry, content))
        size_bytes += content.ByteSize()
    if batch:
        yield batch


async def _add_batch(
    remotes: Sequence[Remote], batch: _Batch, stored: int
) -> Sequence[shard_pb2.AddContentResponse]:
    """Add one batch to each shard; `stored` is how many content items were added before."""
    request = shard_pb2.AddContentRequest(contents=[content for _, content in batch])
    try:
        return await asyncio.gather(
            *(each.call(each.shard.AddContent, request) for each in remotes)
        )
    except CommandError as error:
        before = f"; stored before it: {pluralise(stored, 'content item')}" if stored else ""
        raise CommandError(f"{_locate_problem(str(error), batch)}{before}") from error


def _locate_problem(problem: str, batch: _Batch) -> str:
    """Replace the position in a request, which a shard names, by the line of the file."""
    if (found := _FIELD_PATH.search(problem)) is None:
        return problem
    return f"{batch[int(found[1])][0].location}: {found[2]}"
