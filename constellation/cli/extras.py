"""Extras: parts of commands that need packages which not every machine has."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from constellation.cli.errors import CommandError


def load_extra(module: str, extra: str) -> Any:  # a module, whose packages may be missing
    """Import what needs an extra. Raises CommandError, which says what to install."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise CommandError(
            f"the package {error.name} is missing: install constellation-tv[{extra}], for instance "
            f"with `pip install 'constellation-tv[server,{extra}]'`"
        ) from error
