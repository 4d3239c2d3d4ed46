"""An outbox whose file is in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from constellation_settop import Outbox

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with Outbox.open(":memory:") as outbox:
        yield outbox
