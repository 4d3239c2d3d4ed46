"""`make embeddings`: compute the embeddings of the films with all-MiniLM-L6-v2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track

from constellation.cli.text_embedding import TextModel, open_model
from constellation.encoding import Embeddings, quantise
from testing.catalogue import EMBEDDINGS_FILE
from testing.films import load_films

if TYPE_CHECKING:
    from collections.abc import Sequence


def embed_texts(model: TextModel, texts: Sequence[str]) -> Embeddings:
    """Return one unit-length embedding for each text. Show a progress bar on standard error."""
    results = track(
        model.embed_each(enumerate(texts)),
        "Embedding films",
        total=len(texts),
        console=Console(stderr=True),
    )
    return np.stack([embedding for _, embedding in results])


def main() -> None:
    films = load_films()
    codes, _ = quantise(embed_texts(open_model(), [film.text for film in films]))
    content_ids = np.array([film.content_id.encode() for film in films])
    np.savez_compressed(EMBEDDINGS_FILE, content_ids=content_ids, codes=codes)
    print(f"{EMBEDDINGS_FILE.name}: {len(films)} films, {EMBEDDINGS_FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
