from __future__ import annotations

import pytest

from quality.document import PAGE, format_chain, format_losses, replace_block
from quality.figures import load_chain, load_losses
from quality.losses import list_variants


def test_the_page_shows_the_committed_figures_of_the_whole_system() -> None:
    page = PAGE.read_text()

    assert replace_block(page, "chain", format_chain(load_chain())) == page, (
        "run `make quality`: docs/quality.md and quality/figures.json differ"
    )


def test_the_page_shows_the_committed_losses() -> None:
    page = PAGE.read_text()

    assert replace_block(page, "losses", format_losses(load_losses())) == page, (
        "run `make quality CASE=losses`: docs/quality.md and quality/figures.json differ"
    )


def test_the_committed_losses_are_those_of_every_recipe() -> None:
    measured = [(loss.economy, loss.value) for loss in load_losses().losses]

    assert measured == [(economy, value) for economy, value, _ in list_variants()]


def test_the_chain_is_reported_on_the_test_split_and_losses_on_the_validation_split() -> None:
    assert load_chain().split == "test"
    assert load_losses().split == "validation"


def test_a_block_is_replaced_and_the_rest_of_the_page_stays() -> None:
    page = "before\n<!-- x: written by `make quality` -->\n\nold\n\n<!-- end of x -->\nafter\n"

    replaced = replace_block(page, "x", "new")

    assert replaced == page.replace("old", "new")
    assert replace_block(replaced, "x", "new") == replaced


@pytest.mark.parametrize("page", ["", "<!-- x: written by `make quality` -->"])
def test_a_page_without_markers_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="the page needs one <!-- x: written by"):
        replace_block(page, "x", "new")
