"""`constellation export`: everything a shard has stored, as JSON Lines."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from constellation.archive.exporter import to_content_line, to_count_lines, to_device_lines
from constellation.archive.lines import HEADER_LINE, ArchiveCounts, Line
from constellation.cli.exit_codes import FAILURE, SUCCESS
from constellation.cli.files import open_output
from constellation.cli.printing import print_json, print_message
from constellation.cli.progress import show_progress
from constellation.core.loading import load_shard
from constellation.errors import ConfigError
from constellation.server import to_rules
from constellation.stores import open_reader

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import AsyncIterator

    from constellation.config import ShardConfig
    from constellation.core.loading import LoadedShard
    from constellation.core.store import StoreReader


_PAGE_SIZE: Final = 1000


async def run_export(config: ShardConfig, options: Namespace) -> int:
    """Write everything that a shard has stored, as JSON Lines."""
    if options.file == "-" and options.json:
        raise ConfigError('--json and FILE "-" would both write to standard output: name a file')
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
            file.write(_encode_line(HEADER_LINE))
            async for kind, line in _make_lines(reader, loaded):
                file.write(_encode_line({kind: line}))
                tally = tally.add_line(kind, line)
                advance(kind != "count")
            file.write(_encode_line({"end": asdict(tally)}))
    print_summary("exported", tally, options)
    return SUCCESS


async def _make_lines(reader: StoreReader, loaded: LoadedShard) -> AsyncIterator[tuple[str, Line]]:
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
    if options.json:
        print_json({"file": options.file, **asdict(tally)})
        return
    summary = ", ".join(f"{count:,} {name}" for name, count in asdict(tally).items())
    print_message(f"{verb} {summary}")
