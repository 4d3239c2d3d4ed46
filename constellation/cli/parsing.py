"""Build the argument parsers of both programs: commands, flags and help texts."""

from __future__ import annotations

import argparse
import textwrap
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import shtab

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    CommandHandler = Callable[[argparse.Namespace], Coroutine[None, None, int]]

_WIDTH: Final = 79
_COMMA_THRESHOLD: Final = 10_000
"""Limits from this number on are printed with commas."""
JSON_HELP: Final = "print one JSON document instead of text"
_EPILOG: Final = """\
`{program} COMMAND --help` shows the flags of a command, and examples.
Every setting is an environment variable: docs/operations.md lists them.
exit status: 0 success, 1 failure, 2 usage error, 3 degraded (`status`)
"""


class Commands:
    """The commands of a program, or the subcommands of one command."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.program = parser.prog
        self._settings = parser.get_default("settings")
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
        """Add a command and return its parser.

        `summary` is one line without capital and full stop; `details` follows it in the command's
        own help. Each of `examples` is what follows the program and the name of the command.
        """
        parser = self._add_parser(name, summary, examples, details)
        parser.set_defaults(run=handler)
        return parser

    def add_group(self, name: str, summary: str) -> Commands:
        """Add a command that only groups subcommands, and return them."""
        return Commands(self._add_parser(name, summary, (), ""))

    def _add_parser(
        self, name: str, summary: str, examples: Sequence[str], details: str
    ) -> argparse.ArgumentParser:
        shown = [f"  {self.program} {name} {example}".rstrip() for example in examples]
        # completion in shells shows the first line alone, so the summary is its own paragraph
        paragraphs = (f"{summary[0].upper()}{summary[1:]}.", details)
        parser = self._commands.add_parser(
            name,
            help=summary,
            description="\n\n".join(textwrap.fill(each, _WIDTH) for each in paragraphs if each),
            epilog="\n".join(["examples:", *shown]) if shown else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.set_defaults(settings=self._settings, program=self.program.split(maxsplit=1)[0])
        return parser


def make_parser(program: str, description: str, settings: type[Any]) -> argparse.ArgumentParser:
    """Return the parser of a program that has no commands yet.

    `settings` is the dataclass of the program's settings. Every command finds it as the default
    `settings` of its parser, and in its options.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=_EPILOG.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"{program} {version('constellation-tv')}"
    )
    parser.set_defaults(settings=settings)
    return parser


def complete_file_names(action: argparse.Action) -> None:
    """Make shells complete file names for an argument."""
    action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it


def add_json_flag(parser: argparse.ArgumentParser, text: str = JSON_HELP) -> None:
    parser.add_argument("--json", action="store_true", help=text)


def parse_text(text: str) -> str:
    """Return the text of an argument. Raises ArgumentTypeError when it is not UTF-8.

    Python carries such bytes as halves of characters, which no message can hold. A file's name may
    have them.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"must be text in UTF-8, got {text!a}") from None
    return text


def make_number_parser(
    minimum: float, maximum: float, *, is_integer: bool = False
) -> Callable[[str], float]:
    """Return a function that parses the number of a flag, from `minimum` to `maximum`.

    The function raises ArgumentTypeError, which argparse prints with the name of the flag.
    """

    def parse(text: str) -> float:
        try:
            value = int(text) if is_integer else float(text)
        except ValueError:
            kind = "an integer" if is_integer else "a number"
            raise argparse.ArgumentTypeError(f"must be {kind}, got {text!r}") from None
        if not minimum <= value <= maximum:
            shown = f"{maximum:,.0f}" if maximum >= _COMMA_THRESHOLD else f"{maximum:g}"
            raise argparse.ArgumentTypeError(f"must be from {minimum:g} to {shown}, got {text}")
        return value

    return parse
