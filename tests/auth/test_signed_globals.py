"""Shards take a global state only from the federation whose keys they have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from constellation.auth.global_signatures import HeaderVerifier, sign_header
from constellation.auth.key_file import KeyFile
from constellation.auth.keys import KeyRing, make_key_ring, write_key_ring
from constellation.auth.principal import Role
from constellation.auth.revocations import append_revoked
from constellation.config import Count, Seconds
from constellation.errors import ConfigError, UnauthenticatedError
from constellation.v1 import federation_pb2, sync_pb2, sync_pb2_grpc
from constellation.v1.aggregates_pb2 import GlobalHeader
from constellation.v1.federation_pb2_grpc import FederationServiceStub
from constellation_settop import GlobalKeys
from constellation_settop.network.global_keys import UnsignedUpdateError, require_signed
from tests.auth.callers import OWN, Keys, to_metadata
from tests.conftest import run_shard
from tests.federation.fleet import run_federation
from tests.federation.test_related_shards import push_liked
from tests.sync_client import make_pull

if TYPE_CHECKING:
    from pathlib import Path

    from constellation.server import RunningShard
    from federation.server import RunningFederation


class Signer:
    """A federation's private keys, and the file of their public parts that shards have."""

    def __init__(self, folder: Path, name: str = "federation") -> None:
        self.private = folder / f"{name}.json"
        self.public = folder / f"{name}-public.json"
        self.write(make_key_ring("EdDSA"))

    def write(self, ring: KeyRing) -> None:
        self.ring = ring
        write_key_ring(self.private, ring, is_new=False)
        write_key_ring(self.public, ring.to_public(), is_new=False)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path)


def make_header(**changed: Any) -> GlobalHeader:
    return GlobalHeader(
        **{"generation": 7, "round_id": 3, "size_bytes": 99, "sha256": bytes(32), **changed}
    )


def test_a_signature_is_of_the_whole_header(signer: Signer) -> None:
    header = make_header()
    sign_header(KeyFile(signer.private), header)
    verifier = HeaderVerifier(KeyFile(signer.public))
    verifier.check(header)

    for changed in ({"generation": 8}, {"round_id": 4}, {"size_bytes": 98}, {"sha256": b"x" * 32}):
        forged = make_header(key_id=header.key_id, signature=header.signature, **changed)
        with pytest.raises(UnauthenticatedError, match="is not one of key"):
            verifier.check(forged)


def test_a_new_key_signs_while_shards_have_both(signer: Signer, tmp_path: Path) -> None:
    before = make_header()
    sign_header(KeyFile(signer.private), before)
    signer.write(signer.ring.add_new())
    after = make_header()
    sign_header(KeyFile(signer.private), after)

    verifier = HeaderVerifier(KeyFile(signer.public))

    assert before.key_id != after.key_id
    verifier.check(before)
    verifier.check(after)
    with pytest.raises(UnauthenticatedError, match="which GLOBAL_KEYS does not have"):
        HeaderVerifier(KeyFile(Signer(tmp_path, "other").public)).check(after)


@pytest.mark.parametrize("kind", ["HS256", "public"])
def test_only_a_private_key_signs(signer: Signer, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "keys.json"
    ring = signer.ring.to_public() if kind == "public" else make_key_ring()
    write_key_ring(path, ring, is_new=True)

    with pytest.raises(ConfigError, match="--algorithm EdDSA"):
        sign_header(KeyFile(path), make_header())


async def run_round(federation: RunningFederation) -> federation_pb2.Round:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{federation.port}") as channel:
        answer = await FederationServiceStub(channel).RunRound(federation_pb2.RunRoundRequest())
        return answer.round


def get_address(shard: RunningShard) -> str:
    return f"127.0.0.1:{shard.port}"


async def test_a_shard_takes_what_its_federation_signed(signer: Signer) -> None:
    async with (
        run_shard(global_keys=signer.public) as shard,
        run_federation(
            [get_address(shard)], min_shards=Count(1), signing_keys=signer.private
        ) as federation,
    ):
        await run_round(federation)

        assert shard.manager.global_state.published is not None


@pytest.mark.parametrize("has_key", [False, True])
async def test_a_shard_refuses_everybody_else(
    signer: Signer, tmp_path: Path, *, has_key: bool
) -> None:
    other = {"signing_keys": Signer(tmp_path, "other").private} if has_key else {}
    async with (
        run_shard(global_keys=signer.public) as shard,
        run_federation([get_address(shard)], min_shards=Count(1), **other) as federation,
    ):
        await run_round(federation)

        problem = federation.publisher.problems[get_address(shard)]
        assert problem.startswith("UNAUTHENTICATED: the global state is signed by ")
        assert problem.endswith(", which GLOBAL_KEYS does not have")
        assert ("nothing" in problem) is not has_key
        assert shard.manager.global_state.published is None


async def pull(shard: RunningShard, token: str) -> grpc.StatusCode:
    async with grpc.aio.insecure_channel(get_address(shard)) as channel:
        stub = sync_pb2_grpc.SyncServiceStub(channel)
        request = sync_pb2.ExchangeRequest(hello=sync_pb2.Hello(device_id=OWN, incarnation=1))
        try:
            await stub.Exchange(request, metadata=to_metadata(token))
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def test_a_revocation_reaches_every_shard_and_outlasts_a_restart(
    signer: Signer, tmp_path: Path
) -> None:
    keys = Keys.make(tmp_path)
    token = keys.issue(Role.DEVICE)
    federation_token = tmp_path / "federation.token"
    federation_token.write_text(keys.issue(Role.FEDERATION), encoding="ascii")
    revoked = tmp_path / "revoked.txt"
    settings: dict[str, Any] = {
        "token_keys": keys.path,
        "global_keys": signer.public,
        "data_dir": tmp_path / "shard",
    }
    append_revoked(revoked, OWN, "stolen")
    async with run_shard(**settings) as shard:
        assert await pull(shard, token) is grpc.StatusCode.OK
        async with run_federation(
            [get_address(shard)],
            min_shards=Count(1),
            signing_keys=signer.private,
            revoked_devices=revoked,
            token_file=federation_token,
        ) as federation:
            await run_round(federation)

            assert await pull(shard, token) is grpc.StatusCode.UNAUTHENTICATED

    async with run_shard(**settings) as shard:
        assert await pull(shard, token) is grpc.StatusCode.UNAUTHENTICATED


async def test_what_a_shard_passes_on_to_devices_is_signed_by_the_federation(
    signer: Signer,
) -> None:
    pinned = GlobalKeys.from_file(signer.public)
    settings: dict[str, Any] = {
        "min_shards": Count(1),
        "signing_keys": signer.private,
        "related_interval_secs": Seconds(0),
        "global_k_anonymity": Count(4),
    }
    async with (
        run_shard(global_keys=signer.public) as shard,
        run_federation([get_address(shard)], **settings) as federation,
        grpc.aio.insecure_channel(get_address(shard)) as channel,
    ):
        await push_liked(shard, dict.fromkeys(range(5), frozenset({"film:1", "film:2"})))
        await run_round(federation)
        stub: Any = sync_pb2_grpc.SyncServiceStub(channel)
        update = (await stub.Exchange(make_pull(1))).update

    assert [each.region for each in update.popular] == ["", "default"]
    require_signed(update, pinned)
    update.popular[0].content_ids[0] = "film:66"
    with pytest.raises(UnsignedUpdateError):
        require_signed(update, pinned)
