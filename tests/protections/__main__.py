"""`make prove`: take out each protection, and see that its test fails. Takes some minutes."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.protections.protections import PROTECTIONS, Protection

ROOT: Final = Path(__file__).parents[2]
_PASSED: Final = 0
_FAILED: Final = 1
"""Exit statuses of pytest. Every other one says that no test was run."""
_NO_END: Final = -1
_MAX_SECONDS: Final = 900.0
"""How long a test may run: some wait for a minute before they fail, and the attacks are long."""
_SHARED: Final = (".venv", "build")
"""What is not in the repository, and no protection is in."""


def main() -> int:
    """Return 1 when a test passes without its protection, or fails with it."""
    parser = argparse.ArgumentParser(prog="python -m tests.protections", description=main.__doc__)
    parser.add_argument("findings", nargs="*", metavar="FINDING", help="such as S1; default: all")
    chosen = parser.parse_args().findings
    proved = True
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "constellation"
        copy_tree(copy)
        for protection in PROTECTIONS:
            if not chosen or protection.finding in chosen:
                problem = prove(protection, copy)
                proved &= not problem
    return int(not proved)


def copy_tree(target: Path) -> None:
    """Copy the files of the repository as they are, and link what it shares with nobody."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    for name in _SHARED:
        if (ROOT / name).exists():
            (target / name).symlink_to(ROOT / name)


def prove(protection: Protection, copy: Path) -> str:
    """Print what becomes of a test without its protection; return what is wrong with that."""
    file = copy / protection.file
    original = file.read_text("utf-8")
    before, _ = run_test(protection.test, copy)
    file.write_text(original.replace(protection.text, protection.without), "utf-8")
    try:
        after, output = run_test(protection.test, copy)
    finally:
        file.write_text(original, "utf-8")
    if before != _PASSED:
        problem = f"the test does not pass with the protection: pytest ended with {before}"
    elif after != _FAILED or not re.search(r"^\d+ failed", output, re.MULTILINE):
        problem = f"THE TEST DOES NOT NOTICE: pytest ended with {after}"
    else:
        problem = ""
    reason = next(iter(re.findall(r"^FAILED .*? - (.*)$", output, re.MULTILINE)), "it says no more")
    print(f"{protection.finding} {protection.name}\n    {protection.test}", flush=True)
    print(f"    {problem or 'fails: ' + reason[:120]}", flush=True)
    return problem


def run_test(test: str, copy: Path) -> tuple[int, str]:
    """Run a test on the copy; return the exit status of pytest, and what it printed."""
    path = os.pathsep.join(map(str, (copy, copy / "clients" / "python")))
    try:
        finished = subprocess.run(
            [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "250"},  # for whole reasons
            check=False,
            stdout=subprocess.PIPE,
            text=True,
            timeout=_MAX_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return _NO_END, ""
    return finished.returncode, finished.stdout


if __name__ == "__main__":
    sys.exit(main())
