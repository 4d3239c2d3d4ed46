from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import pytest

import constellation_settop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PUBLIC = [getattr(constellation_settop, name) for name in constellation_settop.__all__]
FOREIGN_TYPE = re.compile(r"\b(grpc|google|pb|[a-z]+_pb2)\.")


def list_functions(public: Any) -> Iterator[Callable[..., Any]]:
    """Yield what a public name lets callers call: itself, or a class's public methods."""
    if inspect.isfunction(public):
        yield public
        return
    fields = getattr(public, "__dataclass_fields__", {})
    for name, member in vars(public).items():
        function: Any = member.fget if isinstance(member, property) else member
        function = inspect.unwrap(getattr(function, "__func__", function))
        is_public = not name.startswith("_") or (name == "__init__" and not fields)
        if inspect.isfunction(function) and is_public and name not in fields:
            yield function


@pytest.mark.parametrize("public", PUBLIC, ids=constellation_settop.__all__)
def test_every_public_name_is_documented(public: Any) -> None:
    undocumented = [each.__name__ for each in list_functions(public) if not each.__doc__]

    assert public.__doc__
    assert not public.__doc__.startswith(f"{public.__name__}(")  # what a dataclass makes up
    assert not undocumented


@pytest.mark.parametrize("public", PUBLIC, ids=constellation_settop.__all__)
def test_no_public_name_shows_a_type_of_grpc_or_protobuf(public: Any) -> None:
    described = [public, *list_functions(public)]

    annotations = [text for each in described for text in inspect.get_annotations(each).values()]

    assert not [text for text in annotations if FOREIGN_TYPE.search(str(text))]
