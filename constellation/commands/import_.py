"""`constellation import`: fill an empty store from an export."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from constellation.archive.importer import Prepared, Writer
from constellation.archive.lines import HEAD, Line, Numbered, Tally, parse
from constellation.cli.exit_codes import DONE
from constellation.cli.progress import progress
from constellation.commands.export import print_tally
from constellation.core.store import Changes, Totals
from constellation.errors import ConfigError, InvalidInputError
from constellation.stores import open_store, place_of

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Awaitable, Callable, Iterator
    from typing import BinaryIO

    from constellation.config import ShardConfig
    from constellation.core.store import PatternStore

_AT_ONCE: Final = 512
"""Lines of one commit."""
_EMPTY_IT: Final = (
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
    print_tally("imported", tally, options)
    return DONE


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
