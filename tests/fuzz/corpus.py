"""The corpus: inputs that reach code which no earlier one reached, a file for each target.

`python -m tests.fuzz --grow` finds them by the lines that each input runs, and writes them. A run
mutates them together with the valid inputs. An input that once crashed a decoder stays in it.
"""

from __future__ import annotations

import base64
import sys
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

from tests.fuzz.mutations import mutate

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

CORPUS: Final = Path(__file__).parent / "corpus"
MAX_INPUTS: Final = 48
"""Inputs of one target that are kept."""
MAX_BYTES: Final = 4096
_WATCHED: Final = ("/constellation/", "/federation/", "/constellation_settop/")


def read_corpus(name: str) -> list[bytes]:
    """Return the inputs of a target; none without a file."""
    path = _find_file(name)
    if not path.exists():
        return []
    return [base64.b64decode(line) for line in path.read_text("ascii").splitlines()]


def grow_corpus(target: Target, inputs: int, seed: int) -> int:
    """Run so many inputs, add those that reach new lines to the file, and return their number."""
    random, kept = Random(seed), list(target.corpus)  # noqa: S311 - no secret
    reached: set[tuple[str, int]] = set()
    for each in (*target.seeds, *kept):
        reached |= _find_lines(target, each)
    added = 0
    for _ in range(inputs):
        if len(kept) >= MAX_INPUTS:
            break
        pool = (*target.seeds, *kept)
        data = mutate(random.choice(pool), pool, random)
        if len(data) <= MAX_BYTES and (new := _find_lines(target, data) - reached):
            reached |= new
            kept.append(data)
            added += 1
    if added:
        lines = "".join(f"{base64.b64encode(each).decode()}\n" for each in kept)
        _find_file(target.name).write_text(lines, "ascii")
    return added


def _find_lines(target: Target, data: bytes) -> set[tuple[str, int]]:
    """Return the lines of the product that an input runs, refused or taken."""
    lines: set[tuple[str, int]] = set()

    def trace(frame: Any, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if "/tests/" in name or not any(part in name for part in _WATCHED):
            return None
        if event == "line":
            lines.add((name, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        with suppress(*target.refusals):
            target.run(data)
    finally:
        sys.settrace(None)
    return lines


def _find_file(name: str) -> Path:
    return CORPUS / f"{name.replace(' ', '-')}.txt"
