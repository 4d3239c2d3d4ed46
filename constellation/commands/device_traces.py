"""What is left of one device: in the store, the index, the files of DATA_DIR, and exports."""

from __future__ import annotations

import asyncio
import mmap
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np

from constellation.archive.lines import parse_line
from constellation.cli.errors import CommandError
from constellation.cli.files import open_input, read_lines
from constellation.cli.printing import print_line
from constellation.core.index.pattern_index import PatternIndex
from constellation.core.loading import load_shard
from constellation.core.recovery import recover_shard
from constellation.errors import InvalidInputError
from constellation.shard_settings import to_identity, to_rules
from constellation.stores import describe_location, open_snapshots

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from constellation.config import ShardConfig
    from constellation.core.recovery import SnapshotFiles
    from constellation.core.store import StoreReader
    from constellation.core.table.shard_table import Table

_MAX_LINE_BYTES: Final = 64 << 20
"""The longest line of an export: a device with all its patterns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTraces:
    """What was found of one device. Nothing of it anywhere is the proof that it is erased."""

    device_id: str
    location: str
    devices: int
    """Its rows in the store: 1 or 0."""
    patterns: int
    liked: int
    """Content items that the store has as liked by it."""
    indexed: int | None
    """Shared patterns into which its patterns are merged; None on PostgreSQL, where each start
    builds the index anew."""
    outdated_in_snapshot: int = 0
    """Shared patterns of the index snapshot that the store has changed or deleted since."""
    files: dict[str, int] = field(default_factory=dict)
    """How often its id is in the bytes of each file of DATA_DIR that has it."""
    exports: dict[str, int] = field(default_factory=dict)
    """By export: the number of the line that has it; 0 for none."""
    problems: Sequence[str] = ()
    """How rows, totals, digests and index differ: then nothing is proven."""

    @property
    def is_erased(self) -> bool:
        """Whether nothing of the device was found, and all of it was readable."""
        found = (self.devices, self.patterns, self.liked, self.indexed, self.outdated_in_snapshot)
        return not (any(found) or self.files or any(self.exports.values()) or self.problems)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {"erased": self.is_erased, **asdict(self)}


async def find_traces(
    config: ShardConfig, reader: StoreReader, device_id: bytes, exports: Sequence[str]
) -> DeviceTraces:
    """Look everywhere for a device.

    The hourly counts and the sums for the federation name no device: the counts are numbers of
    devices, and every start computes the sums from the rows, whose digests are compared here.
    """
    rules, problems = to_rules(config), list(await reader.verify())
    snapshots = await open_snapshots(config, reader)
    if config.postgres_url is not None:
        loaded = await load_shard(reader, rules)
        table, index = loaded.table, None
        problems += loaded.problems
    else:
        recovered = await recover_shard(
            reader, rules, snapshots, exact_limit=config.exact_limit, identity=to_identity(config)
        )
        table, index = recovered.table, recovered.index
        problems += recovered.problems
    row = table.find_device(device_id)
    slots = table.find_patterns(np.array([row])).slots
    liked = table.liked.read(np.array([row]))["contents"][0] if row >= 0 else np.empty(0)
    return DeviceTraces(
        device_id=device_id.hex(),
        location=describe_location(config),
        devices=int(row >= 0),
        patterns=len(slots),
        liked=int(np.count_nonzero(liked)),
        indexed=None if index is None else len(table.groups.find_groups(slots)),
        outdated_in_snapshot=await _count_outdated(table, snapshots, config.exact_limit),
        files=await asyncio.to_thread(_search_files, config.data_dir, device_id),
        exports={
            name: await asyncio.to_thread(_search_export, name, device_id) for name in exports
        },
        problems=problems,
    )


async def _count_outdated(table: Table, snapshots: SnapshotFiles | None, exact_limit: int) -> int:
    """Return how many shared patterns of the index snapshot were changed or dissolved later."""
    found = await asyncio.to_thread(snapshots.read) if snapshots else None
    if found is None:
        return 0
    lsn, payload = found
    index = PatternIndex(table.groups.rows["codes"], exact_limit=exact_limit)
    try:
        await asyncio.to_thread(index.restore, payload)
    except ValueError:
        return 0  # a start makes nothing of it either, and overwrites it
    rows = table.groups.rows[index.slots]
    return int(np.count_nonzero((rows["sample_count"] == 0) | (rows["lsn"] > lsn)))


def _search_files(data_dir: Path | None, device_id: bytes) -> dict[str, int]:
    """Return how often an id is in each file of a directory, as bytes or as text."""
    if data_dir is None:
        return {}
    forms = {device_id, device_id.hex().encode(), str(UUID(bytes=device_id)).encode()}
    found = {}
    for path in sorted(each for each in data_dir.rglob("*") if each.is_file()):
        count = sum(_count(path, form) for form in forms)
        if count:
            found[str(path)] = count
    return found


def _count(path: Path, form: bytes) -> int:
    if not path.stat().st_size:
        return 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        count, at = 0, data.find(form)
        while at >= 0:
            count, at = count + 1, data.find(form, at + 1)
        return count


def _search_export(name: str, device_id: bytes) -> int:
    """Return the number of the line of an export that has a device; 0 for none.

    Raises CommandError when the file cannot be read, or is no export.
    """
    wanted, line_number = device_id.hex(), 0
    with open_input(name) as (file, _):
        for line in read_lines(file, name, _MAX_LINE_BYTES):
            line_number += 1
            try:
                kind, entry = parse_line(line, line_number)
            except InvalidInputError as error:
                raise CommandError(f"{name}: {error}: is it an export?") from error
            if kind == "device" and entry.fields.get("device_id") == wanted:
                return line_number
    return 0


def print_traces(traces: DeviceTraces) -> None:
    """Print what was found, place by place."""
    print_line(f"device {traces.device_id} in {traces.location}")
    if traces.devices:
        print_line(f"  store: {traces.patterns} patterns, {traces.liked} liked content items")
    else:
        print_line("  store: nothing")
    if traces.indexed is not None:
        print_line(
            f"  index: {f'in {traces.indexed} shared patterns' if traces.indexed else 'nothing'}"
        )
    if traces.outdated_in_snapshot:
        print_line(
            f"  index snapshot: {traces.outdated_in_snapshot} shared patterns "
            "that were changed or deleted since: start the shard and stop it in order"
        )
    else:
        print_line("  index snapshot: nothing that the store lacks")
    print_line("  hourly counts, sums for the federation: name no device; computed from these rows")
    for name, count in traces.files.items():
        print_line(f"  file {name}: its id, {count} times")
    for name, line in traces.exports.items():
        print_line(f"  export {name}: {f'line {line}' if line else 'nothing'}")
    for problem in traces.problems:
        print_line(f"  damaged, so nothing is proven: {problem}")
    print_line("erased: nothing of it is held here" if traces.is_erased else "HELD")
