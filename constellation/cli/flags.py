"""Flags: which processes a command asks, and how it reaches them."""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import USAGE_ERROR
from constellation.cli.parsing import add_json_flag, complete_file_names, make_number_parser
from constellation.config import PARSERS, Address
from constellation.loopback import to_channel_options
from constellation.transport.listener import local_address

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

_TIMEOUT_SECONDS: Final = 10.0
_MAX_TIMEOUT_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How processes are reached."""

    timeout_seconds: float
    credentials: grpc.ChannelCredentials | None
    server_name: str | None

    def open_channel(self, address: str) -> grpc.aio.Channel:
        """Return a channel; nothing is connected until the first call."""
        if self.credentials is None:
            return grpc.aio.insecure_channel(address, options=to_channel_options(address))
        named = [("grpc.ssl_target_name_override", self.server_name)] if self.server_name else []
        return grpc.aio.secure_channel(
            address, self.credentials, options=[*named, *to_channel_options(address)]
        )


def add_connection_flags(
    parser: ArgumentParser, *, several: bool = False, fleet: bool = False
) -> None:
    """Add what every command knows that talks to a process.

    GRPC_ADDR says where this machine's own process is. An operator asks others, too: --address is
    the one flag that says what a variable says.
    """
    group = parser.add_argument_group("whom to ask, and how")
    repeat_hint = "; may be given again, or hold several, separated by commas" if several else ""
    group.add_argument(
        "--address",
        action="extend" if several else "store",
        type=_parse_addresses if several else _parse_address,
        metavar="HOST:PORT",
        help=f"where the process serves gRPC (default: GRPC_ADDR of the environment){repeat_hint}",
    )
    if fleet:
        group.add_argument(
            "--all", action="store_true", help="ask every shard of the shard map (SHARD_MAP)"
        )
    group.add_argument("--tls", action="store_true", help="encrypt; the next four imply it")
    complete_file_names(
        group.add_argument(
            "--ca",
            type=Path,
            metavar="FILE",
            help="who may sign the server's certificate, PEM (default: whom the system trusts)",
        )
    )
    complete_file_names(
        group.add_argument(
            "--cert", type=Path, metavar="FILE", help="certificate of this client, PEM"
        )
    )
    complete_file_names(
        group.add_argument("--key", type=Path, metavar="FILE", help="private key of --cert, PEM")
    )
    group.add_argument("--server-name", metavar="NAME", help="name in the server's certificate")
    group.add_argument(
        "--timeout",
        type=make_number_parser(0.001, _MAX_TIMEOUT_SECONDS),
        metavar="SECONDS",
        help=f"how long an answer may take (default: {_TIMEOUT_SECONDS:g})",
    )
    add_json_flag(parser)


def parse_connection_options(options: Namespace) -> ConnectionOptions:
    """Return how to reach processes. Raises CommandError for files that cannot be read."""
    if bool(options.cert) != bool(options.key):
        raise CommandError("--cert and --key belong together: give both", USAGE_ERROR)
    tls = options.tls or options.ca or options.cert or options.server_name
    credentials = None
    if tls:
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_read_file("--ca", options.ca),
            private_key=_read_file("--key", options.key),
            certificate_chain=_read_file("--cert", options.cert),
        )
    return ConnectionOptions(options.timeout or _TIMEOUT_SECONDS, credentials, options.server_name)


def choose_addresses(options: Namespace, grpc_addr: Address) -> Sequence[str]:
    """Return the addresses on the command line, each once; this machine's own without any."""
    if options.address:
        given = [options.address] if isinstance(options.address, str) else options.address
        return list(dict.fromkeys(given))
    port = grpc_addr.rpartition(":")[2]
    if not int(port):
        raise CommandError(
            f"GRPC_ADDR is {grpc_addr}: port 0 says nothing of where the process is; "
            "give --address HOST:PORT",
            USAGE_ERROR,
        )
    return [local_address(grpc_addr, int(port))]


def _parse_address(text: str) -> str:
    try:
        address: str = PARSERS[Address](text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return address


def _parse_addresses(text: str) -> list[str]:
    return [_parse_address(part.strip()) for part in text.split(",") if part.strip()]


def _read_file(flag: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(f"{flag} {path}: {error.strerror}", USAGE_ERROR) from None
