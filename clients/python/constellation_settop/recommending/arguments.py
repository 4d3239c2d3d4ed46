"""Arguments of a host's program, checked before anything is done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from constellation_settop.errors import InvalidArgumentError
from constellation_settop.values import Context, View

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_CONTENT_ID_BYTES: Final = 64


def check_view(view: View) -> None:
    """Raise InvalidArgumentError unless it is a View of some content, in a context or none.

    Its shares and its time are checked where they are used.
    """
    if not isinstance(view, View):
        raise InvalidArgumentError(
            f"a view must be a View, got {view!r}: write View(content_id, watch_percentage=0.93)"
        )
    check_content_id(view.content_id)
    check_context(view.context)


def check_content_id(content_id: str) -> None:
    """Raise InvalidArgumentError unless it is a text of 1 to 64 bytes."""
    if not isinstance(content_id, str):
        raise InvalidArgumentError(f"a content id must be a str, got {content_id!r}")
    size = len(content_id.encode(errors="surrogatepass"))
    if not 1 <= size <= MAX_CONTENT_ID_BYTES:
        raise InvalidArgumentError(
            f"a content id must have 1 to {MAX_CONTENT_ID_BYTES} bytes, got {size}: "
            f"{content_id[:MAX_CONTENT_ID_BYTES]!r}"
        )


def check_context(context: Context | None) -> None:
    """Raise InvalidArgumentError unless it is a Context or None."""
    if context is not None and not isinstance(context, Context):
        raise InvalidArgumentError(
            f"context must be a Context or None, got {context!r}: "
            "write Context(TimeOfDay.EVENING, DayType.WEEKDAY)"
        )


def check_limit(limit: int) -> None:
    """Raise InvalidArgumentError unless it is a whole number, at least 1."""
    if not isinstance(limit, int) or limit < 1:
        raise InvalidArgumentError(f"limit must be a whole number, at least 1, got {limit!r}")


def check_texts(name: str, texts: Collection[str] | None) -> None:
    """Raise InvalidArgumentError for one text in place of a collection of texts."""
    if isinstance(texts, str | bytes):
        raise InvalidArgumentError(
            f"{name} must be a collection of texts, got one text: write [{texts!r}]"
        )
