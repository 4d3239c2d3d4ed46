"""`constellation ca`: a certificate authority for a fleet that has none of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from constellation.auth.authority import (
    AUTHORITY_CERTIFICATE,
    AUTHORITY_KEY,
    issue_certificate,
    make_authority,
)
from constellation.cli.exit_codes import SUCCESS
from constellation.cli.parsing import (
    add_json_flag,
    complete_file_names,
    make_number_parser,
    parse_text,
)
from constellation.cli.printing import print_json, print_line

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from constellation.cli.parsing import Commands

_AUTHORITY_DAYS: Final = 3650
_SERVER_DAYS: Final = 90
_MAX_DAYS: Final = 36_500


def add_ca(commands: Commands) -> None:
    group = commands.add_group(
        "ca", "make certificates for a fleet without an authority of its own"
    )
    new = group.add(
        "new",
        run_new,
        "make a certificate authority",
        details=f"{AUTHORITY_CERTIFICATE} is public: devices, commands and federations trust it. "
        f"{AUTHORITY_KEY} is secret, and no server needs it: keep it apart.",
        examples=("pki",),
    )
    _add_folder(new)
    new.add_argument(
        "--name", type=parse_text, default="Constellation", help="name of the authority"
    )
    _add_days(new, _AUTHORITY_DAYS)
    issue = group.add(
        "issue",
        run_issue,
        "issue a server's certificate",
        details="It is valid for every name and address that clients may connect to. The files of "
        "an earlier certificate are replaced, and servers use the new one without a restart.",
        examples=("pki localhost 127.0.0.1", "pki shard-0.tv.example --file shard-0"),
    )
    _add_folder(issue)
    issue.add_argument(
        "names",
        type=parse_text,
        nargs="+",
        metavar="NAME",
        help="host name or IP address of the server",
    )
    issue.add_argument(
        "--file",
        default="server",
        metavar="FILE_NAME",
        help="begin of the files' names (default: server)",
    )
    _add_days(issue, _SERVER_DAYS)


def _add_folder(parser: ArgumentParser) -> None:
    add_json_flag(parser)
    complete_file_names(
        parser.add_argument("folder", type=Path, metavar="DIR", help="directory of the authority")
    )


def _add_days(parser: ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--days",
        type=make_number_parser(0.001, _MAX_DAYS),
        default=default,
        metavar="DAYS",
        help=f"days until the certificate expires (default: {default})",
    )


async def run_new(options: Namespace) -> int:
    """Write a new authority. Raises ConfigError when the directory has one."""
    make_authority(options.folder, options.name, options.days)
    return _print_files(
        options,
        {"certificate": AUTHORITY_CERTIFICATE, "key": AUTHORITY_KEY},
        {"certificate": "what clients trust", "key": "keep it secret"},
    )


async def run_issue(options: Namespace) -> int:
    """Write a server's certificate and its key. Raises ConfigError without an authority."""
    issue_certificate(options.folder, options.names, options.file, options.days)
    return _print_files(
        options,
        {"certificate": f"{options.file}.pem", "key": f"{options.file}.key"},
        {"certificate": f"TLS_CERT, for {', '.join(options.names)}", "key": "TLS_KEY"},
    )


def _print_files(options: Namespace, files: dict[str, str], meanings: dict[str, str]) -> int:
    """Print which files a command wrote, and what each is for."""
    if options.json:
        print_json({kind: str(options.folder / name) for kind, name in files.items()})
        return SUCCESS
    for kind, name in files.items():
        print_line(f"{options.folder / name}: {meanings[kind]}")
    return SUCCESS
