"""`config`, of both programs: the settings that this environment gives them."""

from __future__ import annotations

import ast
import inspect
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from constellation.cli.exit_codes import DONE
from constellation.cli.parsing import add_json
from constellation.cli.printing import make_console, print_json
from constellation.cli.tables import Column, Table, prose, words
from constellation.config import load
from constellation.placement import format_map

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping, Sequence

    from constellation.cli.parsing import Commands


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable, as this environment has it."""

    name: str
    value: str
    from_environment: bool
    meaning: str
    secret: bool


def add_config(commands: Commands, require_sound: Callable[[Any], object]) -> None:
    parser = commands.add(
        "config",
        run_config,
        "print every setting: its value, where it comes from, and what it means",
        more="Secrets are hidden. Names every variable that is wrong, and then fails with "
        "status 2.",
        examples=("", "--json"),
    )
    parser.set_defaults(require_sound=require_sound)
    add_json(parser)


async def run_config(options: Namespace) -> int:
    """Print the settings. Raises ConfigError, which names all that is wrong."""
    settings = settings_of(options.settings, os.environ)
    options.require_sound(load(options.settings))
    if options.json:
        print_json(
            {
                "settings": [
                    {
                        "name": each.name,
                        "value": each.value,
                        "source": "environment" if each.from_environment else "default",
                        "meaning": each.meaning,
                        "secret": each.secret,
                    }
                    for each in settings
                ]
            }
        )
        return DONE
    table = Table(
        [
            Column("setting"),
            words("value"),
            Column("from", is_spare=True),
            prose("meaning"),
        ]
    )
    for each in settings:
        source = "[bold]environment[/]" if each.from_environment else "[dim]default[/]"
        value = escape(each.value)
        told = f"[bold]{value}[/]" if each.from_environment else value
        table.add(each.name, told, source, escape(each.meaning))
    table.print(make_console())
    return DONE


def settings_of(kind: type[Any], env: Mapping[str, str]) -> Sequence[Setting]:
    """Return every setting of a program, in the order of its dataclass."""
    config, meanings = load(kind, env), _meanings(kind)
    return [
        Setting(
            name=setting.name.upper(),
            value=_value(getattr(config, setting.name), secret=not setting.repr),
            from_environment=bool(env.get(setting.name.upper())),
            meaning=meanings[setting.name],
            secret=not setting.repr,
        )
        for setting in fields(kind)
    ]


def _value(value: object, *, secret: bool) -> str:
    if value is None or value in ((), {}):
        return "unset"
    if secret:
        return "set, not shown"
    if isinstance(value, bool | float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ",".join(value)
    return format_map(value) if isinstance(value, dict) else str(value)


def _meanings(kind: type[Any]) -> Mapping[str, str]:
    """Return what each setting means: the string under it, which Python itself throws away."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    named = zip(definition.body, definition.body[1:], strict=False)
    return {
        field.target.id: " ".join(told.value.value.split())
        for field, told in named
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(told, ast.Expr)
        and isinstance(told.value, ast.Constant)
        and isinstance(told.value.value, str)
    }
