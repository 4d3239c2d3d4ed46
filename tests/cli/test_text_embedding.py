from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from constellation.encoding import DIMENSION
from tests.command_line import needs_model

if TYPE_CHECKING:
    from constellation.cli.text_embedding import TextModel

TEXTS = ["a heist that goes wrong", "a bank robbery that goes wrong", "penguins in the snow"]


@pytest.fixture(scope="module")
def model() -> TextModel:
    text_embedding = pytest.importorskip("constellation.cli.text_embedding")
    opened: TextModel = text_embedding.open_model()
    return opened


@needs_model
def test_similar_texts_have_similar_embeddings_of_unit_length(model: TextModel) -> None:
    heist, robbery, penguins = (model.embed(text) for text in TEXTS)

    assert heist.shape == (DIMENSION,)
    assert np.linalg.norm(heist) == pytest.approx(1)
    assert heist @ robbery > 2 * (heist @ penguins)


@needs_model
def test_each_text_keeps_its_key_its_order_and_its_own_embedding(model: TextModel) -> None:
    embedded = list(model.embed_each((number, TEXTS[number % 3]) for number in range(12)))

    assert [number for number, _ in embedded] == list(range(12))
    for number, row in embedded:
        assert np.array_equal(row, model.embed(TEXTS[number % 3]))
