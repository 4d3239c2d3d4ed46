"""`constellation import`: fill an empty store from an export.

The module has an underscore in its name because `import` is a keyword.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from constellation.archive.importer import ArchiveImporter, StoreWrite
from constellation.archive.lines import ArchiveCounts, Line, NumberedLine, check_head, parse_line
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import SUCCESS, USAGE_ERROR
from constellation.cli.files import open_input, read_lines
from constellation.cli.parsing import add_json_flag, complete_file_names
from constellation.cli.progress import show_progress
from constellation.commands.export import print_summary
from constellation.commands.startup import configure_shard
from constellation.core.store import CommitWrites, Totals
from constellation.errors import ConfigError, InvalidInputError
from constellation.stores import claim_store, describe_location, open_unclaimed_store

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Awaitable, Callable, Iterator
    from typing import BinaryIO

    from constellation.cli.parsing import Commands
    from constellation.config import ShardConfig
    from constellation.core.store import PatternStore

_LINES_PER_COMMIT: Final = 512
_MAX_LINE_BYTES: Final = 1 << 28
"""Far longer than the line of a device with the most patterns that a shard lets it have."""
_EMPTY_STORE_HINT: Final = (
    'an import requires an empty store. docs/operations.md, "Export and import", says how to '
    "empty one after an interrupted import"
)


def add_import(commands: Commands) -> None:
    parser = commands.add(
        "import", run_import, "fill an empty store from an export", examples=("shard-0.jsonl",)
    )
    complete_file_names(
        parser.add_argument("file", metavar="FILE", help="a file that `constellation export` wrote")
    )
    add_json_flag(parser)


async def run_import(options: Namespace) -> int:
    """Fill the store that the settings name, and print what it holds now."""
    config = configure_shard()
    try:
        tally = await import_archive(config, Path(options.file))
    except InvalidInputError as error:
        raise CommandError(f"{options.file}: {error}") from error
    print_summary("imported", tally, options)
    return SUCCESS


async def import_archive(config: ShardConfig, path: Path) -> ArchiveCounts:
    """Fill an empty store from an archive, and return what the archive holds.

    Checks the whole archive before it writes anything. Raises ConfigError when the settings name
    no store, a store that is not empty, or limits that are too low; CommandError when there is no
    such file; InvalidInputError when the archive is damaged.
    """
    if config.postgres_url is None and config.data_dir is None:
        raise ConfigError("DATA_DIR or POSTGRES_URL is required: it names the store to fill")
    if path.exists() and not path.is_file():
        raise CommandError(f"{path} is not a regular file: it is read twice", USAGE_ERROR)
    with open_input(str(path)) as (file, _):
        region = _find_region(file, config.shard_id)
    with open_input(str(path)) as (file, size), show_progress("Checking", size) as advance:
        checker = ArchiveImporter()
        tally = await _read_archive(file, checker, _discard, advance)
    _require_capacity(config, tally)
    async with open_unclaimed_store(config) as store, asyncio.TaskGroup() as tasks:
        epoch = await store.take_epoch()
        if await store.read_totals() != Totals() or await store.count_contents():
            raise ConfigError(f"{describe_location(config)} is not empty: {_EMPTY_STORE_HINT}")
        await claim_store(store, config, region)
        lease = tasks.create_task(store.hold_forever(), name="lease")
        with open_input(str(path)) as (file, size), show_progress("Importing", size) as advance:
            writer, write = ArchiveImporter(checker.totals), _make_write(store, epoch)
            await _read_archive(file, writer, write, advance)
        lease.cancel()
    return tally


def _find_region(file: BinaryIO, shard_id: int) -> str | None:
    """Return the region of an archive of the same shard; another shard may have any region."""
    first = next(read_lines(file, file.name, _MAX_LINE_BYTES), b"")
    kind, head = parse_line(first, 1)
    check_head(head.fields if kind == "head" else {})
    return head.fields.get("region") if head.fields.get("shard_id") == shard_id else None


async def _read_archive(
    file: BinaryIO,
    writer: ArchiveImporter,
    write: Callable[[StoreWrite], Awaitable[None]],
    advance: Callable[[int], None],
) -> ArchiveCounts:
    """Read an archive to its end, and pass what a store has to write to `write`.

    Raises InvalidInputError when the archive is damaged or incomplete.
    """
    tally = ArchiveCounts()
    parsed = _parse_lines(file, advance)
    head = next(parsed, None)
    check_head(head[1].fields if head is not None and head[0] == "head" else {})
    await write(writer.begin())
    end = None
    for kind, batch in _batch_lines(parsed):
        if end is not None or (kind == "end" and len(batch) > 1):
            raise InvalidInputError("the export", "has lines after its end line")
        if kind == "end":
            end = batch[0].fields
            continue
        prepared = writer.prepare(kind, batch)
        for line in batch:
            tally = tally.add_line(kind, line.fields)
        await write(prepared)
    _require_end(end, tally)
    return tally


async def _discard(_: StoreWrite) -> None:
    """Write nothing, so that reading an archive only checks it."""


def _make_write(store: PatternStore, epoch: int) -> Callable[[StoreWrite], Awaitable[None]]:
    async def write(prepared: StoreWrite) -> None:
        if isinstance(prepared, CommitWrites):
            await store.commit(epoch, prepared)
        else:
            await store.put_contents(epoch, prepared.contents, prepared.terms, prepared.digest)

    return write


def _parse_lines(
    file: BinaryIO, advance: Callable[[int], None]
) -> Iterator[tuple[str, NumberedLine]]:
    for number, text in enumerate(read_lines(file, file.name, _MAX_LINE_BYTES), 1):
        yield parse_line(text, number)
        advance(len(text))


def _batch_lines(
    parsed: Iterator[tuple[str, NumberedLine]],
) -> Iterator[tuple[str, list[NumberedLine]]]:
    """Yield consecutive lines of the same kind together, at most _LINES_PER_COMMIT of them."""
    for kind, group in groupby(parsed, key=lambda each: each[0]):
        while batch := [line for _, line in islice(group, _LINES_PER_COMMIT)]:
            yield kind, batch


def _require_end(end: Line | None, tally: ArchiveCounts) -> None:
    if end is None:
        raise InvalidInputError("the export", "is truncated: its end line is missing")
    if end != asdict(tally):
        raise InvalidInputError("the export", f"holds {asdict(tally)}, but its end line says {end}")


def _require_capacity(config: ShardConfig, tally: ArchiveCounts) -> None:
    for name, found, limit in (
        ("devices", tally.devices, config.max_devices),
        ("patterns", tally.patterns, config.max_patterns),
    ):
        if found > limit:
            raise ConfigError(
                f"the export has {found} {name}, but MAX_{name.upper()} is {limit}: increase it"
            )
