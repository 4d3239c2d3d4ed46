"""`constellation devices`: the devices of shards, and one of them with its patterns."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.flags import add_connection_flags
from constellation.cli.ids import parse_device_id
from constellation.cli.parsing import make_number_parser
from constellation.cli.printing import (
    format_age,
    format_count,
    make_console,
    pluralise,
    print_json,
    to_json,
)
from constellation.cli.remote import open_remotes
from constellation.cli.tables import PrintedColumn, PrintedTable, number_column, text_column
from constellation.cli.titles import look_up_contents
from constellation.commands.patterns import print_patterns
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_PAGE_SIZE: Final = 1000
_DEFAULT_LIMIT: Final = 50


@dataclass(frozen=True, slots=True)
class ShardDevices:
    """Devices of one shard."""

    address: str
    devices: Sequence[shard_pb2.Device]
    has_more: bool
    """The shard has others that were not asked for."""


def add_devices(commands: Commands) -> None:
    parser = commands.add(
        "devices",
        run_devices,
        "list the devices of a shard, or print one with its patterns",
        examples=("", "--connected --all", "5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b"),
    )
    parser.add_argument(
        "device_id",
        nargs="?",
        type=parse_device_id,
        metavar="DEVICE_ID",
        help="print this one: 32 hex digits, a UUID, or base64 as in JSON",
    )
    parser.add_argument("--connected", action="store_true", help="only those with an open stream")
    parser.add_argument(
        "--limit",
        type=make_number_parser(0, 1e9, is_integer=True),
        default=_DEFAULT_LIMIT,
        metavar="N",
        help="at most so many of each shard; 0: all (default: %(default)s)",
    )
    add_connection_flags(parser, several=True, fleet=True)


async def run_devices(options: Namespace) -> int:
    """Print devices."""
    async with open_remotes(options) as remotes:
        if options.device_id is not None:
            return await _print_device(options, remotes)
        shards = await asyncio.gather(*(_list_devices(each, options) for each in remotes))
    if options.json:
        print_json({"shards": [_to_document(shard) for shard in shards]})
    else:
        _print_devices(shards, connected=options.connected)
    return SUCCESS


async def _list_devices(remote: Remote, options: Namespace) -> ShardDevices:
    devices: list[shard_pb2.Device] = []
    limit, token = options.limit or float("inf"), ""
    while len(devices) < limit:
        page = await remote.call(
            remote.shard.ListDevices,
            shard_pb2.ListDevicesRequest(
                page_size=int(min(_PAGE_SIZE, limit - len(devices))),
                page_token=token,
                connected_only=options.connected,
            ),
        )
        devices += page.devices
        token = page.next_page_token
        if not token:
            break
    return ShardDevices(remote.address, devices, has_more=bool(token))


def _to_document(shard: ShardDevices) -> dict[str, object]:
    return {
        "address": shard.address,
        "devices": [to_json(device) for device in shard.devices],
        "more": shard.has_more,
    }


def _print_devices(shards: Sequence[ShardDevices], *, connected: bool) -> None:
    several_shards = len(shards) > 1
    columns = (
        PrintedColumn("device"),
        number_column("patterns"),
        number_column("deltas"),
        PrintedColumn("synced"),
        text_column(""),
    )
    table = PrintedTable(
        [*columns, *([PrintedColumn("shard", is_optional=True)] if several_shards else [])]
    )
    for shard in shards:
        for device in shard.devices:
            address_cells = [shard.address] if several_shards else []
            table.add_row(*_format_cells(device), *address_cells)
    console = make_console()
    table.print(console)
    shown = sum(len(listed.devices) for listed in shards)
    more_hint = (
        "; more follow: --limit 0 lists all" if any(listed.has_more for listed in shards) else ""
    )
    none = "no device is connected" if connected else "no devices yet"
    console.print(f"[dim]{pluralise(shown, 'device') if shown else none}{more_hint}[/]")


def _format_cells(device: shard_pb2.Device) -> tuple[str, ...]:
    state = "[green]connected[/]" if device.connected else ""
    if device.relocated:
        state = "[yellow]away: the shard map gives it to another shard[/]"
    return (
        device.device_id.hex(),
        format_count(device.pattern_count),
        format_count(device.through_seq),
        format_age(device.synced_at.ToNanoseconds() / 1e9),
        state,
    )


async def _print_device(options: Namespace, remotes: Sequence[Remote]) -> int:
    """Print a device of whichever shard knows it; one that owns it before one that once did."""
    answers = await asyncio.gather(*(_find_device(each, options.device_id) for each in remotes))
    owners = [
        (answer.device.relocated, remote.address, remote, answer)
        for remote, answer in zip(remotes, answers, strict=True)
        if answer is not None
    ]
    if not owners:
        addresses = ", ".join(remote.address for remote in remotes)
        hint = "" if options.all else "; --all asks every shard of the shard map"
        raise CommandError(f"no device {options.device_id.hex()} has synced at {addresses}{hint}")
    _, address, remote, answer = min(owners, key=lambda each: each[:2])
    if options.json:
        print_json({"address": address, **to_json(answer)})
        return SUCCESS
    device, console = answer.device, make_console()
    console.print(f"[bold]Device {device.device_id.hex()}[/] at {address}")
    *_, synced, state = _format_cells(device)
    details = [
        pluralise(device.pattern_count, "pattern"),
        pluralise(device.through_seq, "delta"),
        f"synced {synced}",
        *([state] if state else []),
    ]
    console.print(f"  {', '.join(details)}")
    titles = await look_up_contents(remote, answer.patterns.content_ids)
    print_patterns(console, answer.patterns, titles)
    return SUCCESS


async def _find_device(remote: Remote, device: bytes) -> shard_pb2.GetDeviceResponse | None:
    return await remote.find(remote.shard.GetDevice, shard_pb2.GetDeviceRequest(device_id=device))
