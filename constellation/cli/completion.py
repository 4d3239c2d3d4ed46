"""`completion`, in both programs: print a shell completion script."""

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
        "print a shell completion script",
        details="docs/cli.md explains where to install it for each shell.",
        examples=(
            f"bash > ~/.local/share/bash-completion/completions/{commands.program}",
            f"zsh > ~/.zfunc/_{commands.program}",
            f"tcsh > ~/.{commands.program}.completion.tcsh",
        ),
    )
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=", ".join(_SHELLS))


async def run_completion(make_parser: Callable[[], ArgumentParser], options: Namespace) -> int:
    """Print the completion script for one shell."""
    sys.stdout.write(shtab.complete(make_parser(), options.shell))
    return SUCCESS
