"""Related content from real devices, through real shards and a federation, and back to a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from constellation.config import Count, Region, Seconds
from constellation.v1 import shard_pb2
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from tests.conftest import run_shard
from tests.deltas import device_id
from tests.federation.fleet import get_address, run_federation, run_round
from tests.federation.liked import make_households
from tests.related import read_related_rows
from tests.sync_client import make_delta_message, make_pull, make_push

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.federated.published_related import PublishedRelated
    from constellation.server import RunningShard
    from tests.federation.liked import Household

LAMBDA, FLOOR, CONTENTS = 20, 4, 12


def make_matrix(households: Sequence[Household], contents: Sequence[str]) -> np.ndarray:
    return np.array([[each in household for each in contents] for household in households], float)


def solve_centrally(households: Sequence[Household], contents: Sequence[str]) -> np.ndarray:
    """Return the weights of EASE on what all devices liked, with NaN where too few share a pair."""
    matrix = make_matrix(households, contents)
    gram = matrix.T @ matrix
    inverse = np.linalg.inv(gram + LAMBDA * np.eye(len(contents)))
    weights = -inverse / inverse.diagonal()
    weights[(gram < FLOOR) | np.eye(len(contents), dtype=bool)] = np.nan
    return weights


def require_weights(related: PublishedRelated, households: Sequence[Household]) -> None:
    """Compare published rows with a centralised solve: at most half a step of int8 apart."""
    contents = sorted({text for household in households for text in household})
    expected = solve_centrally(households, contents)
    ends = np.cumsum(related.lengths)
    assert len(related) == CONTENTS
    for row, content in enumerate(related.contents.tolist()):
        cells = range(ends[row] - related.lengths[row], ends[row])
        step = 2.0 ** -int(related.shifts[row])
        found = {
            contents.index(related.content_ids[related.neighbours[cell]]): related.weights[cell]
            for cell in cells
        }
        wanted = expected[contents.index(related.content_ids[content])]
        for neighbour, weight in enumerate(wanted.tolist()):
            if np.isnan(weight):
                assert neighbour not in found
            else:
                assert abs(int(found.get(neighbour, 0)) * step - weight) <= step / 2 + 1e-12


async def push_liked(shard: RunningShard, devices: dict[int, Household]) -> None:
    async with grpc.aio.insecure_channel(get_address(shard)) as channel:
        stub: Any = SyncServiceStub(channel)
        for number, household in devices.items():
            delta = make_delta_message(1, snapshot=True, liked=sorted(household))
            await stub.Exchange(make_push(number, delta))


async def delete(shard: RunningShard, number: int) -> None:
    async with grpc.aio.insecure_channel(get_address(shard)) as channel:
        stub: Any = ShardServiceStub(channel)
        await stub.DeleteDevice(shard_pb2.DeleteDeviceRequest(device_id=device_id(number)))


async def pull_rows(shard: RunningShard, number: int) -> dict[str, dict[str, int]]:
    async with grpc.aio.insecure_channel(get_address(shard)) as channel:
        stub: Any = SyncServiceStub(channel)
        update = (await stub.Exchange(make_pull(number))).update
    assert [each.region for each in update.popular] == ["", shard.manager.identity.region]
    return read_related_rows(update.related)


async def test_the_rows_of_devices_are_those_of_a_solve_on_what_all_devices_liked() -> None:
    households = make_households(60, seed=3, contents=CONTENTS)
    north = dict(enumerate(households[:25]))
    south = dict(enumerate(households[25:], 100))
    settings: dict[str, Any] = {
        "related_interval_secs": Seconds(0),
        "related_lambda": Count(LAMBDA),
        "global_k_anonymity": Count(FLOOR),
    }
    async with (
        run_shard(shard_id=0, region=Region("north")) as first,
        run_shard(shard_id=1, region=Region("south")) as second,
        run_federation([get_address(first), get_address(second)], **settings) as federation,
    ):
        await push_liked(first, north)
        await push_liked(second, south)
        await run_round(federation)  # brings the dictionary
        report = await run_round(federation)
        published = first.manager.global_state.published
        assert published is not None
        require_weights(published.related, [*north.values(), *south.values()])
        rows = await pull_rows(second, 103)

        for number in range(100, 125):
            await delete(second, number)
            del south[number]
        await run_round(federation)
        left = [*north.values(), *south.values()]
        changed = second.manager.global_state.published

    assert report.contributors == sum(map(bool, households))
    assert set(rows) == set(households[28])  # the rows of what device 103 itself liked
    assert changed is not None
    assert len(changed.related)
    require_floor(changed.related, left)  # a pair that fell below it is gone at once


def require_floor(related: PublishedRelated, households: Sequence[Household]) -> None:
    """Require that every published pair is shared by enough households."""
    owners = np.repeat(related.contents, related.lengths).tolist()
    for content, neighbour in zip(owners, related.neighbours.tolist(), strict=True):
        pair = {related.content_ids[content], related.content_ids[neighbour]}
        assert sum(pair <= each for each in households) >= FLOOR
