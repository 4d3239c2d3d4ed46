"""`constellation export`: write everything that a shard has stored as JSON Lines."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from constellation.archive.exporter import to_content_line, to_count_lines, to_device_lines
from constellation.archive.lines import ArchiveCounts, Line, make_head
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import FAILURE, SUCCESS, USAGE_ERROR
from constellation.cli.files import open_output
from constellation.cli.parsing import add_json_flag, complete_file_names
from constellation.cli.printing import pluralise, print_json, print_message
from constellation.cli.progress import show_progress
from constellation.commands.startup import configure_shard
from constellation.core.loading import load_shard
from constellation.shard_settings import to_rules
from constellation.stores import open_reader

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import AsyncIterator

    from constellation.cli.parsing import Commands
    from constellation.core.loading import LoadedShard
    from constellation.core.store import StoreReader

_PAGE_SIZE: Final = 1000
_COUNT_NAMES: Final = {
    "contents": "content item",
    "devices": "device",
    "patterns": "pattern",
    "counts": "hourly count",
}
"""What each field of ArchiveCounts counts, for people."""


def add_export(commands: Commands) -> None:
    parser = commands.add(
        "export",
        run_export,
        "write everything that a shard has stored as JSON Lines",
        examples=("shard-0.jsonl",),
    )
    complete_file_names(
        parser.add_argument("file", metavar="FILE", help='output file; "-" is standard output')
    )
    add_json_flag(parser)


async def run_export(options: Namespace) -> int:
    """Write an archive of the store, and print what it holds."""
    config = configure_shard()
    if options.file == "-" and options.json:
        raise CommandError(
            '--json and FILE "-" would both write to standard output: name a file', USAGE_ERROR
        )
    async with open_reader(config) as reader:
        loaded = await load_shard(reader, to_rules(config))
        if loaded.problems:
            print_message(f"constellation: {'; '.join(loaded.problems)}")
            return FAILURE
        tally = ArchiveCounts()
        contents = await reader.count_contents()
        with (
            open_output(options.file) as file,
            show_progress("Exporting", contents + loaded.table.totals.devices) as advance,
        ):
            file.write(_encode_line(make_head(await reader.read_identity())))
            async for kind, line in _make_lines(reader, loaded):
                file.write(_encode_line({kind: line}))
                tally = tally.add_line(kind, line)
                advance(kind != "count")
            file.write(_encode_line({"end": asdict(tally)}))
    print_summary("exported", tally, options)
    return SUCCESS


async def _make_lines(reader: StoreReader, loaded: LoadedShard) -> AsyncIterator[tuple[str, Line]]:
    """Yield the kind and the fields of every line between the first and the last."""
    after = ""
    while page := await reader.list_contents(after, _PAGE_SIZE):
        for content in page:
            yield "content", to_content_line(content)
        after = page[-1].content_id
    for line in to_device_lines(loaded):
        yield "device", line
    for line in to_count_lines(loaded):
        yield "count", line


def _encode_line(line: object) -> bytes:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def print_summary(verb: str, tally: ArchiveCounts, options: Namespace) -> None:
    """Print what an archive holds: as JSON on stdout, or in words on stderr."""
    if options.json:
        print_json({"file": options.file, **asdict(tally)})
        return
    counts = asdict(tally).items()
    print_message(f"{verb} {', '.join(pluralise(n, _COUNT_NAMES[name]) for name, n in counts)}")
