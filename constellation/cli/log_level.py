"""`log-level`, of both programs: what a running process logs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from constellation.cli.exit_codes import DONE
from constellation.cli.flags import add_flags
from constellation.cli.printing import print_json
from constellation.cli.remote import several
from constellation.v1 import process_pb2 as pb

if TYPE_CHECKING:
    from argparse import Namespace

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_LEVELS: Final = {
    "debug": pb.LOG_LEVEL_DEBUG,
    "info": pb.LOG_LEVEL_INFO,
    "warning": pb.LOG_LEVEL_WARNING,
    "error": pb.LOG_LEVEL_ERROR,
}
_WORDS: Final[dict[int, str]] = {int(level): word for word, level in _LEVELS.items()}


def add_log_level(commands: Commands, *, fleet: bool) -> None:
    parser = commands.add(
        "log-level",
        run_log_level,
        "print what a running process logs, or make it log more or less",
        more="The new level lasts until the process ends: LOG_LEVEL says what it begins with.",
        examples=("", "debug", *(("warning --all",) if fleet else ())),
    )
    parser.add_argument("level", nargs="?", choices=tuple(_LEVELS), help="the new level")
    add_flags(parser, several=True, fleet=fleet)


async def run_log_level(options: Namespace) -> int:
    """Print or change what is logged."""
    async with several(options) as remotes:
        levels = await asyncio.gather(*(_level(each, options.level) for each in remotes))
    if options.json:
        told = [
            {
                "address": remote.address,
                **{name: _name(each) for name, each in level.items()},
            }
            for remote, level in zip(remotes, levels, strict=True)
        ]
        print_json({"processes": told})
        return DONE
    for remote, level in zip(remotes, levels, strict=True):
        before = f" (was {_WORDS[level['previous_level']]})" if "previous_level" in level else ""
        print(f"{remote.address} logs {_WORDS[level['level']]}{before}")
    return DONE


async def _level(remote: Remote, word: str | None) -> dict[str, int]:
    """Return the level, and the one before when it was changed."""
    if word is None:
        asked = await remote.ask(remote.process.GetLogLevel, pb.GetLogLevelRequest())
        return {"level": asked.level}
    changed = await remote.ask(
        remote.process.SetLogLevel, pb.SetLogLevelRequest(level=_LEVELS[word])
    )
    return {"level": _LEVELS[word], "previous_level": changed.previous_level}


def _name(level: int) -> str:
    return f"LOG_LEVEL_{_WORDS[level].upper()}"
