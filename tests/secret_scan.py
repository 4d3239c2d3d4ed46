"""Finds secrets in what programs print: the logs of every test, and the errors of every command.

A hook of pytest fails the test that prints a secret. `tests/test_secret_scan.py` plants one of each
kind; `tests/scenarios/test_secrets.py` looks for the very secrets of a secure shard.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECRETS: Final = {
    "a token": re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{16,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a key of a ring": re.compile(r"""["'](?:k|d)["']: *["'][\w-]{32,}"""),
    "a password in an address": re.compile(r"\b\w+://[^\s:/@]+:(?!\*+@)[^\s/@]+@"),
    "an authorization header": re.compile(r"[Bb]earer [\w.-]{20,}"),
}
_IN_LOGS: Final = {
    "a device id": re.compile(r"(?<![0-9a-f])(?=[0-9a-f]{32}(?![0-9a-f]))[0-9a-f]{2,8}0{24,30}"),
    "an embedding": re.compile(r"(?:-?\d+(?:\.\d+)?(?:e-?\d+)?,? +){40}|[A-Za-z0-9+/]{500}"),
}
"""What an answer to an operator may have, and a log must not. Devices of tests have small ids."""
_LOG_LINE: Final = re.compile(
    r"^(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[(?:debug|info|warning|error|critical)|\{.*\"event\": )"
)


def find_secrets(text: str) -> list[str]:
    """Return what a text has that nobody may print, with the beginning of each."""
    found = list(_search(_SECRETS, text))
    for line in text.splitlines():
        if _LOG_LINE.match(line):
            found += _search(_IN_LOGS, line)
    return found


def _search(patterns: dict[str, re.Pattern[str]], text: str) -> Iterator[str]:
    for kind, pattern in patterns.items():
        if match := pattern.search(text):
            yield f"{kind}: {match[0][:24]}…"


def require_no_secret(text: str) -> None:
    """Raise AssertionError when a text has a secret."""
    found = find_secrets(text)
    assert not found, f"a secret was printed: {'; '.join(found)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Any:
    """Fail the phase of a test whose output has a secret."""
    report: pytest.TestReport = yield
    if found := find_secrets(f"{report.capstdout}\n{report.capstderr}\n{report.caplog}"):
        report.outcome = "failed"
        report.longrepr = f"a secret was printed: {'; '.join(found)}"
    return report
