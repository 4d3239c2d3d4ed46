from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from testing.page_blocks import replace_block, write_block

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "before\n<!-- x: written by `make it` -->\n\nold\n\n<!-- end of x -->\nafter\n"


def test_a_block_is_replaced_and_the_rest_of_the_page_stays() -> None:
    replaced = replace_block(PAGE, "x", "make it", "new")

    assert replaced == PAGE.replace("old", "new")
    assert replace_block(replaced, "x", "make it", "new") == replaced


def test_a_block_is_replaced_in_its_file(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)

    write_block(page, "x", "make it", "new")

    assert page.read_text() == PAGE.replace("old", "new")


@pytest.mark.parametrize("page", ["", "<!-- x: written by `make it` -->", PAGE + PAGE])
def test_a_page_without_one_pair_of_markers_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="the page needs one <!-- x: written by"):
        replace_block(page, "x", "make it", "new")
