"""Parsing: how commands, their flags and their examples enter the command line."""

from __future__ import annotations

import argparse
import textwrap
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import shtab

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    CommandHandler = Callable[[argparse.Namespace], Coroutine[None, None, int]]

_WIDTH: Final = 79
_COMMA_THRESHOLD: Final = 10_000
"""From here on numbers are told with commas."""
_EPILOG: Final = """\
`{program} COMMAND --help` shows the flags of a command, and examples.
Every setting is an environment variable: docs/operations.md lists them.
exit status: 0 done, 1 failed, 2 asked wrongly
"""


class Commands:
    """The commands of a program, or the parts of one command."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.program = parser.prog
        self._commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        self,
        name: str,
        handler: CommandHandler,
        summary: str,
        *,
        examples: Sequence[str] = (),
        details: str = "",
    ) -> argparse.ArgumentParser:
        """Add a command; `examples` are what follows the program and the command's name."""
        parser = self._add_parser(name, summary, examples, details)
        parser.set_defaults(run=handler)
        return parser

    def add_group(self, name: str, summary: str) -> Commands:
        """Add a command that is only a noun: its own commands are the verbs."""
        return Commands(self._add_parser(name, summary, (), ""))

    def _add_parser(
        self, name: str, summary: str, examples: Sequence[str], details: str
    ) -> argparse.ArgumentParser:
        shown = [f"  {self.program} {name} {example}".rstrip() for example in examples]
        paragraphs = (
            f"{summary[0].upper()}{summary[1:]}.",
            details,
        )  # shells show the first line alone
        return self._commands.add_parser(
            name,
            help=summary,
            description="\n\n".join(textwrap.fill(each, _WIDTH) for each in paragraphs if each),
            epilog="\n".join(["examples:", *shown]) if shown else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )


def make_parser(program: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of a program, without commands as yet."""
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=_EPILOG.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"{program} {version('constellation-tv')}"
    )
    return parser


def complete_file_names(action: argparse.Action) -> None:
    """Let shells complete the names of files for an argument."""
    action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")


def make_number_parser(
    minimum: float, maximum: float, *, is_integer: bool = False
) -> Callable[[str], float]:
    """Return what reads a number of a flag; argparse tells people what is wrong with it."""

    def parse(text: str) -> float:
        try:
            value = int(text) if is_integer else float(text)
        except ValueError:
            kind = "a whole number" if is_integer else "a number"
            raise argparse.ArgumentTypeError(f"must be {kind}, got {text!r}") from None
        if not minimum <= value <= maximum:
            shown = f"{maximum:,.0f}" if maximum >= _COMMA_THRESHOLD else f"{maximum:g}"
            raise argparse.ArgumentTypeError(f"must be from {minimum:g} to {shown}, got {text}")
        return value

    return parse
