from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from constellation.cli.pages import add_limit_flag, fetch_pages

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Numbers:
    """A server that lists the numbers from 0 on."""

    count: int
    sizes: list[int] = field(default_factory=list)

    async def fetch(self, size: int, token: str) -> tuple[Sequence[int], str]:
        self.sizes.append(size)
        start = int(token or 0)
        end = min(start + size, self.count)
        return range(start, end), str(end) if end < self.count else ""


@pytest.mark.parametrize(
    ("limit", "expected", "has_more", "sizes"),
    [
        (0, 7, False, [3, 3, 3]),
        (2, 2, True, [2]),
        (5, 5, True, [3, 2]),
        (7, 7, False, [3, 3, 1]),
        (100, 7, False, [3, 3, 3]),
    ],
)
async def test_pages_are_fetched_up_to_the_limit(
    limit: int, expected: int, *, has_more: bool, sizes: list[int]
) -> None:
    server = Numbers(7)

    listing = await fetch_pages(server.fetch, limit=limit, page_size=3)

    assert listing.items == list(range(expected))
    assert listing.has_more is has_more
    assert server.sizes == sizes


async def test_only_a_cut_listing_says_how_to_list_all() -> None:
    cut = await fetch_pages(Numbers(7).fetch, limit=1, page_size=3)
    whole = await fetch_pages(Numbers(7).fetch, limit=0, page_size=3)

    assert cut.more_hint == "; more exist: list all with --limit 0"
    assert whole.more_hint == ""


def test_the_limit_has_a_default_and_a_maximum(capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    add_limit_flag(parser, 20, "rounds", maximum=1e6)

    assert parser.parse_args([]).limit == 20
    with pytest.raises(SystemExit):
        parser.parse_args(["--limit", "1000001"])
    assert "must be from 0 to 1,000,000, got 1000001" in capsys.readouterr().err
