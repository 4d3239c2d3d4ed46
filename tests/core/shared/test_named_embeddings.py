from __future__ import annotations

import numpy as np
import pytest

from constellation.core.rows import PATTERN, TermKind
from constellation.core.shared.named_embeddings import NamedEmbeddings
from constellation.encoding import normalise_codes
from tests.core.shards import open_core
from tests.core.shared.households import RULES, Households
from tests.deltas import embedding
from tests.sharing import add_to_catalogue

DIRECTIONS = {"a": 1, "b": 2}


async def test_the_embedding_is_the_sum_of_what_is_named() -> None:
    async with open_core(rules=RULES) as manager:
        await add_to_catalogue(manager, DIRECTIONS)
        rows = np.zeros(3, PATTERN)
        number = manager.table.vocabulary.number
        rows["contents"][0, :2] = [number(TermKind.CONTENT, each) for each in DIRECTIONS]
        rows["contents"][1, 0] = number(TermKind.CONTENT, "b")
        rows["codes"] = 77

        named = await NamedEmbeddings(manager.store, manager.table).set_codes(rows)

        assert named.tolist() == [True, True, False]
        both, alone = normalise_codes(rows["codes"][:2])
        total = embedding(1) + embedding(2)
        assert both @ (total / np.linalg.norm(total)) == pytest.approx(1, abs=1e-3)
        assert alone @ embedding(2) == pytest.approx(1, abs=1e-3)
        assert not rows["codes"][2].any()


async def test_what_one_member_watched_besides_changes_no_byte_of_what_is_shown() -> None:
    shown = []
    for secret in ("one", "another"):
        async with open_core(rules=RULES) as manager:
            await add_to_catalogue(manager, {"one": 5, "another": 6})
            households = Households(manager)
            for device in range(3):
                contents = ("film", secret) if device == 0 else ("film",)
                await households.upsert(device, contents=contents)
            await households.run_epoch()
            group = np.flatnonzero(manager.table.groups.rows["sample_count"])
            shown.append(manager.table.groups.rows[group]["codes"].tobytes())

    assert shown[0] == shown[1] != b""


async def test_a_group_that_names_nothing_is_not_shown_and_goes_on_waiting() -> None:
    async with open_core(rules=RULES) as manager:
        households = Households(manager)
        for device in range(3):
            await households.upsert(device, contents=(f"film-{device}",))

        await households.run_epoch()

        assert not manager.table.groups.count
        assert manager.sharing.last is not None
        assert manager.sharing.last.waiting_count == 3
