"""A member of the federation that makes up a global state: does a shard take it?

Whoever may publish to a shard, as a member or with a stolen credential, sends a state with a list
of popular content of its choice: unsigned, signed with a key of its own, or with that signature and
the name of the federation's key.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import grpc

from attacks.game import score_share
from attacks.results import Goal, Outcome
from constellation.auth.global_signatures import sign_header
from constellation.auth.key_file import KeyFile
from constellation.auth.keys import SIGNATURE_ALGORITHM, make_key_ring, write_key_ring
from constellation.v1 import aggregates_pb2 as pb
from constellation.v1.aggregates_pb2_grpc import AggregateServiceStub
from constellation.v1.patterns_pb2 import ENCODING_INT8, PopularContents
from examples.demo.process import ANY_PORT, SIDE_PORTS, ServerProcess
from quality.fleet import SHARD_SETTINGS
from testing.catalogue import load_catalogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from constellation.v1.aggregates_pb2_grpc import AggregateServiceAsyncStub

FORGED_GLOBAL: Final = Goal(
    "forged_global",
    "as a member of the federation, make a shard take a global state that the federation did not "
    "sign (protection off: a shard without `GLOBAL_KEYS`)",
    "states taken",
    reach=0.0,
    least=1.0,
)
TRIALS: Final = 24
_DEADLINE_SECONDS: Final = 30.0


async def run_alone() -> list[tuple[Outcome, Outcome]]:
    """Return for each goal what is reached without the protection, and with it."""
    with TemporaryDirectory(prefix="forged-") as name:
        folder = Path(name)
        pinned, own = (make_key_ring(SIGNATURE_ALGORITHM) for _ in range(2))
        write_key_ring(folder / "own.json", own, is_new=True)
        write_key_ring(folder / "pinned.json", pinned.to_public(), is_new=True)
        keys = KeyFile(folder / "own.json")
        claimed = ("", own.keys[0].key_id, pinned.keys[0].key_id)
        settings = {"GLOBAL_KEYS": str(folder / "pinned.json")}
        outcomes = []
        for protection in ({}, settings):
            async with _start_shard(folder, protection) as stub:
                outcomes.append(await _publish_forged(stub, keys, claimed))
        return [(outcomes[0], outcomes[1])]


@asynccontextmanager
async def _start_shard(
    folder: Path, protection: Mapping[str, str]
) -> AsyncIterator[AggregateServiceAsyncStub]:
    process = ServerProcess(("constellation", "serve"), "shard_started", folder / "shard.log")
    try:
        port = await process.start(
            {**SHARD_SETTINGS, **SIDE_PORTS, "GRPC_ADDR": ANY_PORT, **protection}
        )
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield AggregateServiceStub(channel)
    finally:
        await process.kill_if_running()


async def _publish_forged(
    stub: AggregateServiceAsyncStub, keys: KeyFile, claimed: tuple[str, ...]
) -> Outcome:
    """Publish states, each later than the one before; return how many the shard took."""
    taken = 0
    for round_id, key_id in zip(range(1, TRIALS + 1), cycle(claimed), strict=False):
        frames = _make_frames(round_id, keys, key_id)
        try:
            answer = await stub.PublishGlobal(frames, timeout=_DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise
        else:
            taken += answer.applied
    return Outcome(FORGED_GLOBAL, score_share(taken, TRIALS))


def _make_frames(round_id: int, keys: KeyFile, key_id: str) -> Iterator[pb.PublishGlobalRequest]:
    """Yield a state that names a film, signed in the name of a key; unsigned for no name."""
    film = load_catalogue().films[0].content_id
    popular = PopularContents(id=bytes(16), content_ids=[film], households=[1000])
    state = pb.Global(generation=1, round_id=round_id, popular=[popular])
    state.clusters.patterns.encoding = ENCODING_INT8
    payload = state.SerializeToString()
    header = pb.GlobalHeader(
        generation=1,
        round_id=round_id,
        size_bytes=len(payload),
        sha256=sha256(payload).digest(),
    )
    if key_id:
        sign_header(keys, header)
        header.key_id = key_id
    yield pb.PublishGlobalRequest(header=header)
    yield pb.PublishGlobalRequest(chunk=payload)
