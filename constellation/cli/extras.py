"""Import the parts of commands that need optional packages (the extras `embed` and `plot`)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from constellation.cli.errors import CommandError


def load_extra(module: str, extra: str) -> Any:  # a module, whose packages may be missing
    """Import and return a module that needs an extra.

    Raises CommandError, which names the missing package and the extra to install.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise CommandError(
            f"the package {error.name} is missing: install constellation-tv[{extra}], for example "
            f"with `pip install 'constellation-tv[server,{extra}]'`"
        ) from error
