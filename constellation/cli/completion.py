"""`completion`, of both programs: what makes a shell complete their command lines."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import shtab

from constellation.cli.exit_codes import SUCCESS

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from constellation.cli.parsing import Commands

_SHELLS: Final = ("bash", "zsh", "tcsh")


def add_completion(commands: Commands, make_parser: Callable[[], ArgumentParser]) -> None:
    parser = commands.add(
        "completion",
        partial(run_completion, make_parser),
        "print a script that makes a shell complete this command",
        details="docs/cli.md says where each shell looks for such scripts.",
        examples=(
            f"bash > ~/.local/share/bash-completion/completions/{commands.program}",
            f"zsh > ~/.zfunc/_{commands.program}",
            f"tcsh > ~/.{commands.program}.completion.tcsh",
        ),
    )
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=", ".join(_SHELLS))


async def run_completion(make_parser: Callable[[], ArgumentParser], options: Namespace) -> int:
    """Print the script of a shell."""
    sys.stdout.write(shtab.complete(make_parser(), options.shell))
    return SUCCESS
