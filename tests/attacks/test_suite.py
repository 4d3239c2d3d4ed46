"""The short form of `make attack`: what must not be learned of a household."""

from __future__ import annotations

import pytest

from attacks.command import SHORT_HOUSEHOLDS
from attacks.report import format_table
from attacks.suite import SHORT_ATTACKS, run_suite
from quality.short import select_short


@pytest.mark.timeout(600)
async def test_every_attack_works_without_the_protection_and_fails_with_it() -> None:
    lines = await run_suite(select_short()[:SHORT_HOUSEHOLDS], SHORT_ATTACKS)

    assert len(lines) == 15
    assert all(line.is_proven and line.is_held for line in lines), f"\n{format_table(lines)}"
