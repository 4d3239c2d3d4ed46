"""`constellation import`: fill an empty store from an export."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from constellation.archive.importer import ArchiveImporter, StoreWrite
from constellation.archive.lines import HEADER_LINE, ArchiveCounts, Line, NumberedLine, parse_line
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.progress import show_progress
from constellation.commands.export import print_summary
from constellation.core.store import CommitWrites, Totals
from constellation.errors import ConfigError, InvalidInputError
from constellation.stores import describe_location, open_store

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Awaitable, Callable, Iterator
    from typing import BinaryIO

    from constellation.config import ShardConfig
    from constellation.core.store import PatternStore

_LINES_PER_COMMIT: Final = 512
"""Lines of one commit."""
_EMPTY_STORE_HINT: Final = (
    "an import needs an empty store. How to empty one, after an import that did not finish, is in "
    "docs/operations.md, Export and import"
)


async def run_import(config: ShardConfig, options: Namespace) -> int:
    """Fill an empty store from an export; all of it is checked before anything is written."""
    if config.postgres_url is None and config.data_dir is None:
        raise ConfigError("DATA_DIR or POSTGRES_URL is required: it names the store to fill")
    path = Path(options.file)
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    size = path.stat().st_size
    with path.open("rb") as file, show_progress("Checking", size) as advance:
        checker = ArchiveImporter()
        tally = await _read_archive(file, checker, _discard, advance)
    _require_capacity(config, tally)
    async with open_store(config) as store, asyncio.TaskGroup() as tasks:
        epoch = await store.take_epoch()
        if await store.read_totals() != Totals() or await store.count_contents():
            raise ConfigError(f"{describe_location(config)} is not empty: {_EMPTY_STORE_HINT}")
        lease = tasks.create_task(store.hold_forever(), name="lease")
        with path.open("rb") as file, show_progress("Importing", size) as advance:
            writer, write = ArchiveImporter(checker.totals), _make_write(store, epoch)
            await _read_archive(file, writer, write, advance)
        lease.cancel()
    print_summary("imported", tally, options)
    return SUCCESS


async def _read_archive(
    file: BinaryIO,
    writer: ArchiveImporter,
    write: Callable[[StoreWrite], Awaitable[None]],
    advance: Callable[[int], None],
) -> ArchiveCounts:
    """Read an archive to its end, and hand on what a store has to write."""
    tally = ArchiveCounts()
    parsed = _parse_lines(file, advance)
    head = next(parsed, None)
    if head is None or head[0] != "head" or head[1].fields != HEADER_LINE:
        raise InvalidInputError("line 1", f"must be {json.dumps(HEADER_LINE)}")
    await write(writer.begin())
    end = None
    for kind, batch in _batch_lines(parsed):
        if end is not None or (kind == "end" and len(batch) > 1):
            raise InvalidInputError(file.name, "goes on after its last line")
        if kind == "end":
            end = batch[0].fields
            continue
        prepared = writer.prepare(kind, batch)
        for line in batch:
            tally = tally.add_line(kind, line.fields)
        await write(prepared)
    _require_end(file.name, end, tally)
    return tally


async def _discard(_: StoreWrite) -> None:
    """Only check."""


def _make_write(store: PatternStore, epoch: int) -> Callable[[StoreWrite], Awaitable[None]]:
    async def write(prepared: StoreWrite) -> None:
        if isinstance(prepared, CommitWrites):
            await store.commit(epoch, prepared)
        else:
            await store.put_contents(epoch, prepared.contents, prepared.terms)

    return write


def _parse_lines(
    file: BinaryIO, advance: Callable[[int], None]
) -> Iterator[tuple[str, NumberedLine]]:
    for number, text in enumerate(file, 1):
        yield parse_line(text, number)
        advance(len(text))


def _batch_lines(
    parsed: Iterator[tuple[str, NumberedLine]],
) -> Iterator[tuple[str, list[NumberedLine]]]:
    """Yield neighbours of one kind together, up to _AT_ONCE."""
    for kind, group in groupby(parsed, key=lambda each: each[0]):
        while batch := [line for _, line in islice(group, _LINES_PER_COMMIT)]:
            yield kind, batch


def _require_end(name: str, end: Line | None, tally: ArchiveCounts) -> None:
    if end is None:
        raise InvalidInputError(name, "is cut short: its last line is missing")
    if end != asdict(tally):
        raise InvalidInputError(name, f"holds {asdict(tally)}, but its last line says {end}")


def _require_capacity(config: ShardConfig, tally: ArchiveCounts) -> None:
    for name, found, limit in (
        ("devices", tally.devices, config.max_devices),
        ("patterns", tally.patterns, config.max_patterns),
    ):
        if found > limit:
            raise ConfigError(
                f"the export has {found} {name}, but MAX_{name.upper()} is {limit}: raise it"
            )
