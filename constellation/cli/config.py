"""The `config` command of both programs: it prints the settings of this environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from constellation.cli.exit_codes import SUCCESS
from constellation.cli.misspelt import find_misspelt
from constellation.cli.parsing import add_json_flag
from constellation.cli.printing import make_console, print_json, print_message
from constellation.cli.tables import PrintedColumn, PrintedTable, prose_column, text_column
from constellation.config import get_help
from constellation.config_loader import load_config
from constellation.placement import format_map

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping, Sequence

    from constellation.cli.parsing import Commands


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, and its value in this environment."""

    name: str
    value: str
    is_from_environment: bool
    description: str
    is_secret: bool


def add_config(commands: Commands, check_config: Callable[[Any], object]) -> None:
    parser = commands.add(
        "config",
        run_config,
        "print every setting: its value, where it comes from, and what it means",
        details="Secrets are not shown. If variables are wrong, it names all of them and exits "
        "with status 2.",
        examples=("", "--json"),
    )
    parser.set_defaults(require_sound=check_config)
    add_json_flag(parser)


async def run_config(options: Namespace) -> int:
    """Print the settings. Raises ConfigError, which names every wrong variable."""
    for misspelt in find_misspelt(options.settings):
        print_message(f"{options.program}: {misspelt.problem}")
    settings = read_settings(options.settings, os.environ)
    options.require_sound(load_config(options.settings))
    if options.json:
        print_json(
            {
                "settings": [
                    {
                        "name": each.name,
                        "value": each.value,
                        "source": "environment" if each.is_from_environment else "default",
                        "meaning": each.description,
                        "secret": each.is_secret,
                    }
                    for each in settings
                ]
            }
        )
        return SUCCESS
    table = PrintedTable(
        [
            PrintedColumn("setting"),
            text_column("value"),
            PrintedColumn("from", is_optional=True),
            prose_column("meaning"),
        ]
    )
    for each in settings:
        source = "[bold]environment[/]" if each.is_from_environment else "[dim]default[/]"
        value = escape(each.value)
        value_cell = f"[bold]{value}[/]" if each.is_from_environment else value
        table.add_row(each.name, value_cell, source, escape(each.description))
    table.print(make_console())
    return SUCCESS


def read_settings(config_class: type[Any], env: Mapping[str, str]) -> Sequence[Setting]:
    """Return every setting of a config class, in the order of its fields."""
    config = load_config(config_class, env)
    return [
        Setting(
            name=each.name.upper(),
            value=_format_value(getattr(config, each.name), is_secret=not each.repr),
            is_from_environment=bool(env.get(each.name.upper())),
            description=get_help(each),
            is_secret=not each.repr,
        )
        for each in fields(config_class)
    ]


def _format_value(value: object, *, is_secret: bool) -> str:
    if value is None or value in ((), {}):
        return "unset"
    if is_secret:
        return "set, not shown"
    if isinstance(value, bool | float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return format_map(value) if isinstance(value, dict) else str(value)
