"""`constellation export` and `import`: a shard as a file, and a file as a shard."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from constellation.archive.exporting import content_line, count_lines, device_lines
from constellation.archive.form import HEAD, Line, Numbered, Tally, parse
from constellation.archive.importing import Prepared, Writer
from constellation.cli.exit_codes import DONE, FAILED
from constellation.cli.files import written
from constellation.cli.printing import print_json, tell
from constellation.cli.progress import progress
from constellation.core.loading import load
from constellation.core.store import Changes, Totals
from constellation.errors import ConfigError, InvalidInputError
from constellation.server import rules_of
from constellation.stores import open_reader, open_store, place_of

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from typing import BinaryIO

    from constellation.config import ShardConfig
    from constellation.core.loading import Loaded
    from constellation.core.store import PatternStore, StoreReader

_PAGE: Final = 1000
_AT_ONCE: Final = 512
"""Lines of one commit."""
_EMPTY_IT: Final = (
    "an import needs an empty store. How to empty one, after an import that did not finish, is in "
    "docs/operations.md, Export and import"
)


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
    _tell("exported", tally, options)
    return DONE


async def run_import(config: ShardConfig, options: Namespace) -> int:
    """Fill an empty store from an export; all of it is checked before anything is written."""
    if config.postgres_url is None and config.data_dir is None:
        raise ConfigError("DATA_DIR or POSTGRES_URL is required: it names the store to fill")
    path = Path(options.file)
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    size = path.stat().st_size
    with path.open("rb") as file, progress("Checking", size) as advance:
        checked = Writer()
        tally = await _fill(file, checked, _discard, advance)
    _require_room(config, tally)
    async with open_store(config) as store, asyncio.TaskGroup() as tasks:
        epoch = await store.take_epoch()
        if await store.totals() != Totals() or await store.count_contents():
            raise ConfigError(f"{place_of(config)} is not empty: {_EMPTY_IT}")
        lease = tasks.create_task(store.hold_forever(), name="lease")
        with path.open("rb") as file, progress("Importing", size) as advance:
            writer, write = Writer(checked.totals), _writing(store, epoch)
            await _fill(file, writer, write, advance)
        lease.cancel()
    _tell("imported", tally, options)
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


async def _fill(
    file: BinaryIO,
    writer: Writer,
    write: Callable[[Prepared], Awaitable[None]],
    advance: Callable[[int], None],
) -> Tally:
    """Read an archive to its end, and hand on what a store has to write."""
    tally = Tally()
    parsed = _parsed(file, advance)
    head = next(parsed, None)
    if head is None or head[0] != "head" or head[1].found != HEAD:
        raise InvalidInputError("line 1", f"must be {json.dumps(HEAD)}")
    await write(writer.begin())
    end = None
    for kind, batch in _batches(parsed):
        if end is not None or (kind == "end" and len(batch) > 1):
            raise InvalidInputError(file.name, "goes on after its last line")
        if kind == "end":
            end = batch[0].found
            continue
        prepared = writer.prepare(kind, batch)
        for line in batch:
            tally = tally.plus(kind, line.found)
        await write(prepared)
    _require_end(file.name, end, tally)
    return tally


async def _discard(_: Prepared) -> None:
    """Only check."""


def _writing(store: PatternStore, epoch: int) -> Callable[[Prepared], Awaitable[None]]:
    async def write(prepared: Prepared) -> None:
        if isinstance(prepared, Changes):
            await store.commit(epoch, prepared)
        else:
            await store.put_contents(epoch, prepared.contents, prepared.words)

    return write


def _parsed(file: BinaryIO, advance: Callable[[int], None]) -> Iterator[tuple[str, Numbered]]:
    for number, text in enumerate(file, 1):
        yield parse(text, number)
        advance(len(text))


def _batches(parsed: Iterator[tuple[str, Numbered]]) -> Iterator[tuple[str, list[Numbered]]]:
    """Yield neighbours of one kind together, up to _AT_ONCE."""
    for kind, group in groupby(parsed, key=lambda each: each[0]):
        while batch := [line for _, line in islice(group, _AT_ONCE)]:
            yield kind, batch


def _require_end(name: str, end: Line | None, tally: Tally) -> None:
    if end is None:
        raise InvalidInputError(name, "is cut short: its last line is missing")
    if end != asdict(tally):
        raise InvalidInputError(name, f"holds {asdict(tally)}, but its last line says {end}")


def _require_room(config: ShardConfig, tally: Tally) -> None:
    for name, found, limit in (
        ("devices", tally.devices, config.max_devices),
        ("patterns", tally.patterns, config.max_patterns),
    ):
        if found > limit:
            raise ConfigError(
                f"the export has {found} {name}, but MAX_{name.upper()} is {limit}: raise it"
            )


def _encoded(line: object) -> bytes:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _tell(what: str, tally: Tally, options: Namespace) -> None:
    if options.json:
        print_json({"file": options.file, **asdict(tally)})
        return
    told = ", ".join(f"{count:,} {name}" for name, count in asdict(tally).items())
    tell(f"{what} {told}")
