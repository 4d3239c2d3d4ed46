"""The flags of a connection: addresses, TLS and time limit."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc

from constellation.auth.token_files import to_metadata
from constellation.cli.certificates import load_credentials
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import USAGE_ERROR
from constellation.cli.parsing import (
    JSON_HELP,
    add_json_flag,
    complete_file_names,
    make_number_parser,
    parse_text,
)
from constellation.config import Address
from constellation.config_loader import PARSERS
from constellation.loopback import is_loopback, to_channel_options, to_local_address

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _ArgumentGroup
    from collections.abc import Sequence

_TIMEOUT_SECONDS: Final = 10.0
_MAX_TIMEOUT_SECONDS: Final = 3600


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How a command connects to processes."""

    timeout_seconds: float
    """The time limit of each call."""
    credentials: grpc.ChannelCredentials | None
    """None connects without TLS."""
    server_name: str | None
    """The host name expected in the server's certificate; None expects that of the address."""
    token_file: Path | None = None
    """The file of the token that each call presents; None presents none."""

    def open_channel(self, address: str) -> grpc.aio.Channel:
        """Return a channel to an address; it connects at the first call.

        Raises CommandError when it would send a token in clear text over a network.
        """
        presented = [TokenInterceptor(self.token_file)] if self.token_file else []
        if self.credentials is None:
            if presented and not is_loopback(address):
                raise CommandError(
                    f"the token in {self.token_file} would go to {address} in clear text: "
                    "give --tls or --ca",
                    USAGE_ERROR,
                )
            return grpc.aio.insecure_channel(
                address, options=to_channel_options(address), interceptors=presented
            )
        named = [("grpc.ssl_target_name_override", self.server_name)] if self.server_name else []
        return grpc.aio.secure_channel(
            address,
            self.credentials,
            options=[*named, *to_channel_options(address)],
            interceptors=presented,
        )


class TokenInterceptor(grpc.aio.UnaryUnaryClientInterceptor):
    """Presents the token of a file with each call; commands make unary calls only."""

    def __init__(self, path: Path) -> None:
        self._metadata = to_metadata(path)

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        given = client_call_details
        details = grpc.aio.ClientCallDetails(
            given.method,
            given.timeout,
            grpc.aio.Metadata(*(given.metadata or ()), *self._metadata),
            given.credentials,
            given.wait_for_ready,
        )
        return await continuation(details, request)


def add_connection_flags(
    parser: ArgumentParser,
    *,
    several: bool = False,
    fleet: bool = False,
    json_help: str = JSON_HELP,
) -> None:
    """Add the flags of every command that calls a process, and `--json`.

    GRPC_ADDR is the address of this machine's own process. Operators call other processes as well,
    so --address is the one flag that repeats a variable. `several` allows more than one address,
    `fleet` adds --all.
    """
    default_address = _read_default_address(parser.get_default("settings"))
    group = parser.add_argument_group("connection")
    repeat_hint = "; repeatable, or a comma-separated list" if several else ""
    group.add_argument(
        "--address",
        action="extend" if several else "store",
        type=_parse_addresses if several else _parse_address,
        metavar="HOST:PORT",
        help="gRPC address of the process "
        f"(default: $GRPC_ADDR, else {default_address}){repeat_hint}",
    )
    if fleet:
        group.add_argument(
            "--all",
            action="store_true",
            help="call every shard of $SHARD_MAP, or else of the shard map of the process",
        )
    _add_tls_flags(group)
    complete_file_names(
        group.add_argument(
            "--token-file",
            type=Path,
            metavar="FILE",
            help="file of the token to present, from `constellation keys issue` "
            "(default: $TOKEN_FILE, else none)",
        )
    )
    group.add_argument(
        "--timeout",
        type=make_number_parser(0.001, _MAX_TIMEOUT_SECONDS),
        metavar="SECONDS",
        help=f"time limit of each call (default: {_TIMEOUT_SECONDS:g})",
    )
    add_json_flag(parser, json_help)


def _add_tls_flags(group: _ArgumentGroup) -> None:
    group.add_argument(
        "--tls", action="store_true", help="use TLS; each of the next four flags implies it"
    )
    complete_file_names(
        group.add_argument(
            "--ca",
            type=Path,
            metavar="FILE",
            help="CA certificates that verify the server's certificate, PEM "
            "(default: the system's)",
        )
    )
    complete_file_names(
        group.add_argument("--cert", type=Path, metavar="FILE", help="client certificate, PEM")
    )
    complete_file_names(
        group.add_argument("--key", type=Path, metavar="FILE", help="private key of --cert, PEM")
    )
    group.add_argument(
        "--server-name",
        type=parse_text,
        metavar="NAME",
        help="host name expected in the server's certificate",
    )


def parse_connection_options(options: Namespace) -> ConnectionOptions:
    """Return how to connect.

    Raises CommandError for a certificate without its key, and for files that hold none.
    """
    if bool(options.cert) != bool(options.key):
        raise CommandError("--cert and --key must be given together", USAGE_ERROR)
    tls = options.tls or options.ca or options.cert or options.server_name
    credentials = None
    if tls:
        credentials = load_credentials(options.ca, options.cert, options.key)
    token_file = options.token_file or _read_token_variable()
    return ConnectionOptions(
        options.timeout or _TIMEOUT_SECONDS, credentials, options.server_name, token_file
    )


def _read_token_variable() -> Path | None:
    text = os.environ.get("TOKEN_FILE")
    return Path(text) if text else None


def choose_addresses(options: Namespace, grpc_addr: Address) -> Sequence[str]:
    """Return the addresses of the command line without duplicates, else this machine's process.

    Raises CommandError when neither names a port.
    """
    if options.address:
        addresses = [options.address] if isinstance(options.address, str) else options.address
        return list(dict.fromkeys(addresses))
    port = int(grpc_addr.rpartition(":")[2])
    if not port:
        raise CommandError(
            f"GRPC_ADDR is {grpc_addr}: port 0 means any free port, so the address of the process "
            "is unknown; give --address HOST:PORT",
            USAGE_ERROR,
        )
    return [to_local_address(grpc_addr, port)]


def _read_default_address(settings: type[Any]) -> str:
    """Return where a process with default settings is reached on this machine."""
    defaults = {each.name: each.default for each in fields(settings)}
    grpc_addr = str(defaults["grpc_addr"])
    return to_local_address(grpc_addr, grpc_addr.rpartition(":")[2])


def _parse_address(text: str) -> str:
    try:
        address: str = PARSERS[Address](text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return address


def _parse_addresses(text: str) -> list[str]:
    return [_parse_address(part.strip()) for part in text.split(",") if part.strip()]
