"""`log-level`, in both programs: print or change the log level of a running process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation.cli.connection_flags import add_connection_flags
from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import FAILURE, SUCCESS
from constellation.cli.printing import print_json, print_line, print_message
from constellation.cli.remote import ask_each, open_remotes
from constellation.v1 import process_pb2 as pb

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from constellation.cli.parsing import Commands
    from constellation.cli.remote import Remote

_LEVELS: Final = {
    "debug": pb.LOG_LEVEL_DEBUG,
    "info": pb.LOG_LEVEL_INFO,
    "warning": pb.LOG_LEVEL_WARNING,
    "error": pb.LOG_LEVEL_ERROR,
}
_LEVEL_NAMES: Final[dict[int, str]] = {int(level): name for name, level in _LEVELS.items()}


def add_log_level(commands: Commands, *, fleet: bool) -> None:
    parser = commands.add(
        "log-level",
        run_log_level,
        "print or change the log level of a running process",
        details="The new level applies until the process stops; LOG_LEVEL sets the initial level.",
        examples=("", "debug", *(("warning --all",) if fleet else ())),
    )
    parser.add_argument("level", nargs="?", choices=tuple(_LEVELS), help="the new level")
    add_connection_flags(parser, several=True, fleet=fleet)


async def run_log_level(options: Namespace) -> int:
    """Print or change the log level of each process."""
    async with open_remotes(options) as remotes:
        answers = await ask_each(remotes, lambda each: _read_or_change_level(each, options.level))
    problems = [each for _, each in answers if isinstance(each, CommandError)]
    if options.json:
        processes = [{"address": each.address, **_to_document(answer)} for each, answer in answers]
        print_json({"processes": processes})
    else:
        _print_levels([(each.address, level) for each, level in answers if isinstance(level, dict)])
    for problem in problems:
        print_message(f"{options.program}: {problem}")
    return FAILURE if problems else SUCCESS


def _to_document(answer: dict[str, int] | CommandError) -> dict[str, str]:
    if isinstance(answer, CommandError):
        return {"error": str(answer)}
    return {name: _to_enum_name(level) for name, level in answer.items()}


def _print_levels(levels: Sequence[tuple[str, dict[str, int]]]) -> None:
    for address, level in levels:
        before = (
            f" (was {_LEVEL_NAMES[level['previous_level']]})" if "previous_level" in level else ""
        )
        print_line(f"{address}: log level {_LEVEL_NAMES[level['level']]}{before}")


async def _read_or_change_level(remote: Remote, new_level: str | None) -> dict[str, int]:
    """Return `level`, and `previous_level` as well when the level was changed."""
    if new_level is None:
        current = await remote.call(remote.process.GetLogLevel, pb.GetLogLevelRequest())
        return {"level": current.level}
    response = await remote.call(
        remote.process.SetLogLevel, pb.SetLogLevelRequest(level=_LEVELS[new_level])
    )
    return {"level": _LEVELS[new_level], "previous_level": response.previous_level}


def _to_enum_name(level: int) -> str:
    return f"LOG_LEVEL_{_LEVEL_NAMES[level].upper()}"
