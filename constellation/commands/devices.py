"""`constellation devices`: list the devices of shards, or print one device with its patterns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.markup import escape

from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import FAILURE, SUCCESS
from constellation.cli.ids import parse_device_id
from constellation.cli.pages import add_limit_flag, fetch_pages
from constellation.cli.printing import (
    format_age,
    format_count,
    make_console,
    pluralise,
    print_json,
    print_message,
    to_json,
    to_seconds,
)
from constellation.cli.remote import ask_each, open_remotes
from constellation.cli.tables import PrintedColumn, PrintedTable, number_column, text_column
from constellation.cli.titles import format_title, look_up_contents
from constellation.commands.patterns import print_patterns
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from rich.console import Console

    from constellation.cli.pages import Listing
    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_PRINTED_LIKED: Final = 10
"""Liked content items that are printed; --json has all."""
_PAGE_SIZE: Final = 1000
_DEFAULT_LIMIT: Final = 50


@dataclass(frozen=True, slots=True)
class ShardDevices:
    """The listed devices of one shard."""

    address: str
    listing: Listing[shard_pb2.Device]


def add_devices(commands: Commands) -> None:
    parser = commands.add(
        "devices",
        run_devices,
        "list the devices of shards, or print one device with its patterns",
        examples=("", "--connected --all", "5a1f0c4e9b7d4e1f8a6b3c2d1e0f9a8b"),
    )
    parser.add_argument(
        "device_id",
        nargs="?",
        type=parse_device_id,
        metavar="DEVICE_ID",
        help="print this device: 32 hex digits, a UUID, or base64 as in JSON",
    )
    parser.add_argument(
        "--connected", action="store_true", help="list only devices with an open stream"
    )
    add_limit_flag(parser, _DEFAULT_LIMIT, "devices per shard")
    add_connection_flags(parser, several=True, fleet=True)


async def run_devices(options: Namespace) -> int:
    """Print the devices of each shard, or one device."""
    async with open_remotes(options) as remotes:
        if options.device_id is not None:
            return await _print_device(options, remotes)
        answers = await ask_each(remotes, lambda each: _list_devices(each, options))
    if options.json:
        print_json({"shards": [_to_document(remote, answer) for remote, answer in answers]})
    else:
        shards = [each for _, each in answers if isinstance(each, ShardDevices)]
        _print_devices(shards, connected=options.connected)
    return _report_problems(answers)


def _report_problems(answers: Sequence[tuple[Remote, object]]) -> int:
    """Print why shards could not be asked, and return the exit code."""
    problems = [each for _, each in answers if isinstance(each, CommandError)]
    for problem in problems:
        print_message(f"constellation: {problem}")
    return FAILURE if problems else SUCCESS


async def _list_devices(remote: Remote, options: Namespace) -> ShardDevices:
    async def fetch_page(size: int, token: str) -> tuple[Sequence[shard_pb2.Device], str]:
        request = shard_pb2.ListDevicesRequest(
            page_size=size, page_token=token, connected_only=options.connected
        )
        page = await remote.call(remote.shard.ListDevices, request)
        return page.devices, page.next_page_token

    listing = await fetch_pages(fetch_page, limit=options.limit, page_size=_PAGE_SIZE)
    return ShardDevices(remote.address, listing)


def _to_document(remote: Remote, shard: ShardDevices | CommandError) -> dict[str, object]:
    if isinstance(shard, CommandError):
        return {"address": remote.address, "error": str(shard)}
    return {
        "address": shard.address,
        "devices": [to_json(device) for device in shard.listing.items],
        "more": shard.listing.has_more,
    }


def _print_devices(shards: Sequence[ShardDevices], *, connected: bool) -> None:
    several_shards = len(shards) > 1
    columns = (
        PrintedColumn("device"),
        number_column("patterns"),
        number_column("deltas"),
        PrintedColumn("last sync"),
        text_column(""),
    )
    table = PrintedTable(
        [*columns, *([PrintedColumn("shard", is_optional=True)] if several_shards else [])]
    )
    for shard in shards:
        for device in shard.listing.items:
            address_cells = [escape(shard.address)] if several_shards else []
            table.add_row(*_format_cells(device), *address_cells)
    console = make_console()
    table.print(console)
    count = sum(len(shard.listing.items) for shard in shards)
    more_hint = next((each.listing.more_hint for each in shards if each.listing.has_more), "")
    none = "no device is connected" if connected else "no devices yet"
    console.print(f"[dim]{pluralise(count, 'device') if count else none}{more_hint}[/]")


def _format_cells(device: shard_pb2.Device) -> tuple[str, ...]:
    state = "[green]connected[/]" if device.connected else ""
    if device.relocated:
        state = "[yellow]relocated: the shard map assigns it to another shard[/]"
    elif device.quarantined:
        state = f"{state}{', ' if state else ''}[yellow]in quarantine: nothing of it is shown[/]"
    elif not device.counted:
        days = pluralise(device.active_days, "active day")
        state = f"{state}{', ' if state else ''}new: it does not count yet, after {days}"
    return (
        device.device_id.hex(),
        format_count(device.pattern_count),
        format_count(device.through_seq),
        format_age(to_seconds(device.synced_at)),
        state,
    )


async def _print_device(options: Namespace, remotes: Sequence[Remote]) -> int:
    """Print a device from the shard that has it; its owner comes before a former owner.

    Raises CommandError when no shard has the device.
    """
    answers = await ask_each(remotes, lambda each: _find_device(each, options.device_id))
    found = [
        (remote, response)
        for remote, response in answers
        if isinstance(response, shard_pb2.GetDeviceResponse)
    ]
    if not found:
        _report_problems(answers)
        addresses = ", ".join(remote.address for remote in remotes)
        hint = "" if options.all else "; --all searches every shard of the shard map"
        raise CommandError(f"no device {options.device_id.hex()} has synced at {addresses}{hint}")
    remote, response = min(found, key=lambda each: (each[1].device.relocated, each[0].address))
    if options.json:
        print_json({"address": remote.address, **to_json(response)})
    else:
        console = make_console()
        _print_heading(console, remote.address, response.device)
        latest = response.liked_content_ids[:_PRINTED_LIKED]
        contents = await look_up_contents(remote, [*response.patterns.content_ids, *latest])
        print_patterns(console, response.patterns, contents)
        if latest:
            titles = "; ".join(format_title(each, contents) for each in latest)
            more = len(response.liked_content_ids) - len(latest)
            console.print(
                f"  [bold]liked[/], the latest first: {escape(titles)}"
                f"{f', and {format_count(more)} more' if more else ''}"
            )
    # its owner may be a shard that could not be asked
    return _report_problems(answers) if response.device.relocated else SUCCESS


def _print_heading(console: Console, address: str, device: shard_pb2.Device) -> None:
    *_, last_sync, state = _format_cells(device)
    details = [
        pluralise(device.pattern_count, "pattern"),
        pluralise(device.through_seq, "delta"),
        f"last sync {last_sync}",
        *([state] if state else []),
    ]
    console.print(f"[bold]Device {device.device_id.hex()}[/] at {escape(address)}")
    console.print(f"  {', '.join(details)}")


async def _find_device(remote: Remote, device: bytes) -> shard_pb2.GetDeviceResponse | None:
    return await remote.find(remote.shard.GetDevice, shard_pb2.GetDeviceRequest(device_id=device))
