"""`constellation devices`: the devices of shards, and one of them with its patterns."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import DONE
from constellation.cli.flags import add_flags
from constellation.cli.ids import device_id
from constellation.cli.parsing import number_from
from constellation.cli.printing import (
    ago,
    count,
    make_console,
    many,
    print_json,
    to_json,
)
from constellation.cli.remote import several
from constellation.cli.tables import Column, Table, number, words
from constellation.cli.titles import look_up
from constellation.commands.patterns import print_patterns
from constellation.v1 import shard_pb2

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_PAGE: Final = 1000
_LIMIT: Final = 50


@dataclass(frozen=True, slots=True)
class Listed:
    """Devices of one shard."""

    address: str
    devices: Sequence[shard_pb2.Device]
    more: bool
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
        type=device_id,
        metavar="DEVICE_ID",
        help="print this one: 32 hex digits, a UUID, or base64 as in JSON",
    )
    parser.add_argument("--connected", action="store_true", help="only those with an open stream")
    parser.add_argument(
        "--limit",
        type=number_from(0, 1e9, whole=True),
        default=_LIMIT,
        metavar="N",
        help="at most so many of each shard; 0: all (default: %(default)s)",
    )
    add_flags(parser, several=True, fleet=True)


async def run_devices(options: Namespace) -> int:
    """Print devices."""
    async with several(options) as remotes:
        if options.device_id is not None:
            return await _run_one(options, remotes)
        found = await asyncio.gather(*(_list(each, options) for each in remotes))
    if options.json:
        print_json({"shards": [_document(listed) for listed in found]})
    else:
        _print_devices(found, connected=options.connected)
    return DONE


async def _list(remote: Remote, options: Namespace) -> Listed:
    devices: list[shard_pb2.Device] = []
    limit, token = options.limit or float("inf"), ""
    while len(devices) < limit:
        page = await remote.ask(
            remote.shard.ListDevices,
            shard_pb2.ListDevicesRequest(
                page_size=int(min(_PAGE, limit - len(devices))),
                page_token=token,
                connected_only=options.connected,
            ),
        )
        devices += page.devices
        token = page.next_page_token
        if not token:
            break
    return Listed(remote.address, devices, more=bool(token))


def _document(listed: Listed) -> dict[str, object]:
    return {
        "address": listed.address,
        "devices": [to_json(device) for device in listed.devices],
        "more": listed.more,
    }


def _print_devices(found: Sequence[Listed], *, connected: bool) -> None:
    several_shards = len(found) > 1
    columns = (Column("device"), number("patterns"), number("deltas"), Column("synced"), words(""))
    table = Table([*columns, *([Column("shard", is_spare=True)] if several_shards else [])])
    for listed in found:
        for device in listed.devices:
            where = [listed.address] if several_shards else []
            table.add(*_cells(device), *where)
    console = make_console()
    table.print(console)
    shown = sum(len(listed.devices) for listed in found)
    more = "; more follow: --limit 0 lists all" if any(listed.more for listed in found) else ""
    none = "no device is connected" if connected else "no devices yet"
    console.print(f"[dim]{many(shown, 'device') if shown else none}{more}[/]")


def _cells(device: shard_pb2.Device) -> tuple[str, ...]:
    state = "[green]connected[/]" if device.connected else ""
    if device.away:
        state = "[yellow]away: the shard map gives it to another shard[/]"
    return (
        device.device_id.hex(),
        count(device.pattern_count),
        count(device.through_seq),
        ago(device.synced_at.ToNanoseconds() / 1e9),
        state,
    )


async def _run_one(options: Namespace, remotes: Sequence[Remote]) -> int:
    """Print a device of whichever shard knows it; one that owns it before one that once did."""
    answers = await asyncio.gather(*(_find(each, options.device_id) for each in remotes))
    known = [
        (answer.device.away, remote.address, remote, answer)
        for remote, answer in zip(remotes, answers, strict=True)
        if answer is not None
    ]
    if not known:
        places = ", ".join(remote.address for remote in remotes)
        hint = "" if options.all else "; --all asks every shard of the shard map"
        raise CommandError(f"no device {options.device_id.hex()} has synced at {places}{hint}")
    _, address, remote, answer = min(known, key=lambda each: each[:2])
    if options.json:
        print_json({"address": address, **to_json(answer)})
        return DONE
    device, console = answer.device, make_console()
    console.print(f"[bold]Device {device.device_id.hex()}[/] at {address}")
    *_, synced, state = _cells(device)
    told = [
        many(device.pattern_count, "pattern"),
        many(device.through_seq, "delta"),
        f"synced {synced}",
        *([state] if state else []),
    ]
    console.print(f"  {', '.join(told)}")
    titles = await look_up(remote, answer.patterns.content_ids)
    print_patterns(console, answer.patterns, titles)
    return DONE


async def _find(remote: Remote, device: bytes) -> shard_pb2.GetDeviceResponse | None:
    return await remote.find(remote.shard.GetDevice, shard_pb2.GetDeviceRequest(device_id=device))
