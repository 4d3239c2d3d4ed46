"""Find environment variables that look like settings but are not: typing errors."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PREFIX: Final = re.compile(r"^(CONSTELLATION|FEDERATION)_")
_SPELLINGS: Final = (("ADDRESSES", "ADDRS"), ("ADDRESS", "ADDR"), ("DIRECTORY", "DIR"))
"""Words that people write out, and the forms that settings use."""
_UNITS: Final = (("SECONDS", "SECS"),)
_MAX_EDITS: Final = 2


@dataclass(frozen=True, slots=True)
class MisspeltSetting:
    """An environment variable that no program reads, and the setting that it resembles."""

    name: str
    meant: str

    @property
    def problem(self) -> str:
        return f"{self.name} is not a setting: did you mean {self.meant}?"


def find_misspelt(
    config_class: type[Any], env: Mapping[str, str] = os.environ
) -> Sequence[MisspeltSetting]:
    """Return the variables that look like a setting of a config class, in alphabetical order.

    A variable looks like one when it differs in case, underscores, a prefix with the program's
    name, a word or unit that is written out, or by at most two letters.
    """
    known = {each.name.upper() for each in fields(config_class)}
    return [
        MisspeltSetting(name, meant)
        for name in sorted(set(env) - known)
        if (meant := _find_resembling(name, sorted(known))) is not None
    ]


def _find_resembling(name: str, known: Sequence[str]) -> str | None:
    plain = _simplify(_PREFIX.sub("", name.upper()))
    edits = {each: _count_edits(plain, _simplify(each), _allow_edits(each)) for each in known}
    closest = min(known, key=lambda each: edits[each])
    return closest if edits[closest] <= _allow_edits(closest) else None


def _allow_edits(known: str) -> int:
    """Return how many letters may differ: fewer in one word, which other words resemble."""
    return _MAX_EDITS if "_" in known else _MAX_EDITS - 1


def _simplify(name: str) -> str:
    for long, short in (*_SPELLINGS, *_UNITS):
        name = name.replace(long, short)
    return name.replace("_", "")


def _count_edits(one: str, other: str, limit: int) -> int:
    """Return the letters to add, remove, replace or swap with their neighbour: `limit` + 1 if more.

    The first letter of a name is rarely mistyped, and tells names apart.
    """
    if one[:1] != other[:1] or abs(len(one) - len(other)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        earlier, before = before, row
        row = [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
    return min(row[-1], limit + 1)
