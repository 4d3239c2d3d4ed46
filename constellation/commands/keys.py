"""`constellation keys`: make, rotate, list and revoke keys that sign; issue tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from constellation.auth.keys import (
    SIGNATURE_ALGORITHM,
    SIGNING_ALGORITHM,
    KeyRing,
    make_key_ring,
    read_key_ring,
    write_key_ring,
)
from constellation.auth.principal import Role
from constellation.auth.tokens import issue_token
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import SUCCESS, USAGE_ERROR
from constellation.cli.parsing import (
    add_json_flag,
    complete_file_names,
    make_number_parser,
    parse_text,
)
from constellation.cli.printing import print_json, print_line
from constellation.config import ShardConfig
from constellation.config_loader import load_config
from constellation.encoding import ID_BYTES

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from constellation.cli.parsing import Commands

_MAX_DAYS: Final = 3650
_DEFAULT_DAYS: Final = 30
_SECONDS_PER_DAY: Final = 86_400
_MAX_KEYS: Final = 2
"""The key that signs, and the one before it, whose tokens still have to be verified."""
_VARIABLE: Final = "TOKEN_KEYS"


def add_keys(commands: Commands) -> None:
    group = commands.add_group("keys", "make and rotate keys that sign, and issue tokens")
    new = group.add(
        "new",
        run_new,
        "make a file with a new key, which only its owner may read",
        details="HS256 is for tokens: give the same file to every shard and federation, as "
        "TOKEN_KEYS. EdDSA is for a vendor's claims and for SIGNING_KEYS of a federation: others "
        "get what `keys public` prints.",
        examples=("token-keys.json", "vendor-keys.json --algorithm EdDSA"),
    )
    _add_file(new)
    new.add_argument(
        "--algorithm",
        choices=[SIGNING_ALGORITHM, SIGNATURE_ALGORITHM],
        default=SIGNING_ALGORITHM,
        help=f"kind of key (default: {SIGNING_ALGORITHM})",
    )
    _add_file(
        group.add(
            "public",
            run_public,
            "print the public keys of a file, for VENDOR_KEYS or GLOBAL_KEYS",
            examples=("vendor-keys.json > vendor-public.json",),
        )
    )
    _add_file(
        group.add(
            "rotate",
            run_rotate,
            "add a new key that signs from now on, and keep the one before it",
            details="Processes read the file again within a second. Rotate again once all tokens "
            "of the older key have expired: it is then removed.",
            examples=("token-keys.json",),
        )
    )
    listing = group.add(
        "list", run_list, "list the keys of a file without their secrets", examples=("keys.json",)
    )
    _add_file(listing)
    revoke = group.add(
        "revoke",
        run_revoke,
        "remove a key: its tokens are refused, and their streams end, within two seconds",
        examples=("token-keys.json 5f0c2a91",),
    )
    _add_file(revoke)
    revoke.add_argument("key_id", metavar="KEY_ID", help="id of the key, as `keys list` prints it")
    issue = group.add(
        "issue",
        run_issue,
        "print a token for a caller",
        details="Write it to a file, and name that with --token-file or TOKEN_FILE. The token is "
        "a JSON Web Token for TOKEN_AUDIENCE.",
        examples=(
            "token-keys.json --role operator --subject alice",
            "token-keys.json --role device --subject 00112233445566778899aabbccddeeff --days 1",
        ),
    )
    _add_file(issue)
    issue.add_argument(
        "--role",
        action="append",
        required=True,
        choices=[role.value for role in Role],
        help="what the caller is; repeatable",
    )
    issue.add_argument(
        "--subject",
        type=parse_text,
        required=True,
        metavar="NAME",
        help="name of the caller for the logs; of a device, its id in hex digits",
    )
    issue.add_argument(
        "--days",
        type=make_number_parser(0.001, _MAX_DAYS),
        default=_DEFAULT_DAYS,
        metavar="DAYS",
        help=f"days until the token expires (default: {_DEFAULT_DAYS})",
    )


def _add_file(parser: ArgumentParser) -> None:
    add_json_flag(parser)
    complete_file_names(
        parser.add_argument(
            "file", type=Path, metavar="FILE", help=f"file of the keys, as in {_VARIABLE}"
        )
    )


async def run_new(options: Namespace) -> int:
    """Write a file with one new key. Raises ConfigError when it exists already."""
    ring = make_key_ring(options.algorithm)
    write_key_ring(options.file, ring, is_new=True)
    return _print_change(options, ring, f"key {ring.keys[0].key_id} signs")


async def run_public(options: Namespace) -> int:
    """Print the public keys. Raises CommandError when there are none."""
    ring = read_key_ring(options.file).to_public()
    if not ring.keys:
        raise CommandError(
            f"{options.file} has only {SIGNING_ALGORITHM} keys, which have no public part: make "
            f"one with `constellation keys new FILE --algorithm {SIGNATURE_ALGORITHM}`",
            USAGE_ERROR,
        )
    print_json({"keys": [key.fields for key in ring.keys]})
    return SUCCESS


async def run_rotate(options: Namespace) -> int:
    """Put a new key first. Of the older keys that can sign, only the newest one stays."""
    ring = read_key_ring(options.file).add_new()
    signers = [key for key in ring.keys if key.can_sign]
    for key in signers[_MAX_KEYS:]:
        ring = ring.remove(key.key_id)
    write_key_ring(options.file, ring, is_new=False)
    removed = "".join(f", key {key.key_id} is removed" for key in signers[_MAX_KEYS:])
    verifying = "".join(f", key {key.key_id} verifies" for key in signers[1:_MAX_KEYS])
    return _print_change(options, ring, f"key {signers[0].key_id} signs{verifying}{removed}")


async def run_list(options: Namespace) -> int:
    """Print the id, the algorithm and the use of each key."""
    ring = read_key_ring(options.file)
    if options.json:
        print_json(_describe(ring))
        return SUCCESS
    for key in _describe(ring)["keys"]:
        print_line(f"{key['key_id']}  {key['algorithm']}  {key['use']}")
    return SUCCESS


def _describe(ring: KeyRing) -> dict[str, list[dict[str, str]]]:
    """Return what may be shown of keys."""
    signer = ring.signer
    return {
        "keys": [
            {
                "key_id": key.key_id,
                "algorithm": key.algorithm,
                "use": "signs and verifies" if key is signer else "verifies",
            }
            for key in ring.keys
        ]
    }


def _print_change(options: Namespace, ring: KeyRing, change: str) -> int:
    """Print what a command did with a file."""
    if options.json:
        print_json(_describe(ring))
    else:
        print_line(f"{options.file}: {change}")
    return SUCCESS


async def run_revoke(options: Namespace) -> int:
    """Remove a key. Raises CommandError for an unknown one and for the last one."""
    ring = read_key_ring(options.file)
    if ring.find(options.key_id) is None:
        known = ", ".join(key.key_id for key in ring.keys)
        raise CommandError(
            f"{options.file} has no key {options.key_id}: it has {known}", USAGE_ERROR
        )
    if len(ring.keys) == 1:
        raise CommandError(
            f"{options.key_id} is the only key of {options.file}: add one with `keys rotate` first",
            USAGE_ERROR,
        )
    remaining = ring.remove(options.key_id)
    write_key_ring(options.file, remaining, is_new=False)
    return _print_change(options, remaining, f"key {options.key_id} is removed")


async def run_issue(options: Namespace) -> int:
    """Print a token. Raises CommandError for a device whose subject is no device id."""
    roles = [Role(each) for each in options.role]
    if Role.DEVICE in roles:
        _require_device_id(options.subject)
    config: ShardConfig = load_config(ShardConfig)
    ring = read_key_ring(options.file)
    seconds = options.days * _SECONDS_PER_DAY
    token = issue_token(ring, config.token_audience, options.subject, roles, seconds)
    if options.json:
        print_json({"token": token})
    else:
        print_line(token)
    return SUCCESS


def _require_device_id(subject: str) -> None:
    try:
        is_id = len(bytes.fromhex(subject)) == ID_BYTES and subject == subject.lower()
    except ValueError:
        is_id = False
    if not is_id:
        raise CommandError(
            f"--subject of a device must be its id, {2 * ID_BYTES} lower-case hex digits, "
            f"got {subject!r}",
            USAGE_ERROR,
        )
