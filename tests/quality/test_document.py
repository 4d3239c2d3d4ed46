from __future__ import annotations

from quality.document import COMMAND, PAGE, format_chain, format_losses
from quality.figures import load_chain, load_losses
from quality.losses import list_variants
from testing.page_blocks import replace_block


def test_the_page_shows_the_committed_figures_of_the_whole_system() -> None:
    page = PAGE.read_text()

    assert replace_block(page, "chain", COMMAND, format_chain(load_chain())) == page, (
        "run `make quality`: docs/quality.md and quality/figures.json differ"
    )


def test_the_page_shows_the_committed_losses() -> None:
    page = PAGE.read_text()

    assert replace_block(page, "losses", COMMAND, format_losses(load_losses())) == page, (
        "run `make quality CASE=losses`: docs/quality.md and quality/figures.json differ"
    )


def test_the_committed_losses_are_those_of_every_recipe() -> None:
    measured = [(loss.economy, loss.value) for loss in load_losses().losses]

    assert measured == [(economy, value) for economy, value, _ in list_variants()]


def test_the_chain_is_reported_on_the_test_split_and_losses_on_the_validation_split() -> None:
    assert load_chain().split == "test"
    assert load_losses().split == "validation"
