"""`constellation export`: everything a shard has stored, as JSON Lines."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from constellation.archive.exporter import content_line, count_lines, device_lines
from constellation.archive.lines import HEAD, Line, Tally
from constellation.cli.exit_codes import DONE, FAILED
from constellation.cli.files import written
from constellation.cli.printing import print_json, tell
from constellation.cli.progress import progress
from constellation.core.loading import load
from constellation.errors import ConfigError
from constellation.server import rules_of
from constellation.stores import open_reader

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import AsyncIterator

    from constellation.config import ShardConfig
    from constellation.core.loading import Loaded
    from constellation.core.store import StoreReader


_PAGE: Final = 1000


async def run_export(config: ShardConfig, options: Namespace) -> int:
    """Write everything that a shard has stored, as JSON Lines."""
    if options.file == "-" and options.json:
        raise ConfigError('--json and FILE "-" would both write to standard output: name a file')
    async with open_reader(config) as reader:
        loaded = await load(reader, rules_of(config))
        if loaded.problems:
            tell(f"constellation: {'; '.join(loaded.problems)}")
            return FAILED
        tally = Tally()
        contents = await reader.count_contents()
        with (
            written(options.file) as file,
            progress("Exporting", contents + loaded.table.totals.devices) as advance,
        ):
            file.write(_encoded(HEAD))
            async for kind, line in _lines(reader, loaded):
                file.write(_encoded({kind: line}))
                tally = tally.plus(kind, line)
                advance(kind != "count")
            file.write(_encoded({"end": asdict(tally)}))
    print_tally("exported", tally, options)
    return DONE


async def _lines(reader: StoreReader, loaded: Loaded) -> AsyncIterator[tuple[str, Line]]:
    after = ""
    while page := await reader.list_contents(after, _PAGE):
        for content in page:
            yield "content", content_line(content)
        after = page[-1].content_id
    for line in device_lines(loaded):
        yield "device", line
    for line in count_lines(loaded):
        yield "count", line


def _encoded(line: object) -> bytes:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def print_tally(what: str, tally: Tally, options: Namespace) -> None:
    if options.json:
        print_json({"file": options.file, **asdict(tally)})
        return
    told = ", ".join(f"{count:,} {name}" for name, count in asdict(tally).items())
    tell(f"{what} {told}")
