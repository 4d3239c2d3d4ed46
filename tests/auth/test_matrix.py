"""Every role calls every method of a shard and of a federation, over gRPC and over REST."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest

from constellation.auth.methods import METHOD_ROLES
from constellation.auth.principal import Role
from constellation.shard_process import SERVICES as SHARD_SERVICES
from constellation.transport.listener import COMMON_SERVICES
from federation.server import SERVICES as FEDERATION_SERVICES
from tests.auth.callers import OWN, Keys, call, list_methods
from tests.conftest import run_shard
from tests.deltas import device_id
from tests.federation.fleet import run_federation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

STANDARD_SERVICES = ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")
SHARD_METHODS = list_methods((*SHARD_SERVICES, *COMMON_SERVICES, *STANDARD_SERVICES))
FEDERATION_METHODS = list_methods((*FEDERATION_SERVICES, *COMMON_SERVICES, *STANDARD_SERVICES))
REFUSALS = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
FOREIGN, UNKNOWN = device_id(2), device_id(3)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.make(tmp_path)


@pytest.fixture
async def guarded_shard(keys: Keys) -> AsyncIterator[Any]:
    async with run_shard(token_keys=keys.path) as shard:
        yield shard


def test_every_method_has_a_row_and_every_row_a_method() -> None:
    assert {*SHARD_METHODS, *FEDERATION_METHODS} == METHOD_ROLES.keys()


def expect(method: str, role: Role | None) -> set[grpc.StatusCode] | None:
    """Return how a call must be refused; None when it must not be."""
    roles = METHOD_ROLES[method]
    if roles is None or role in roles:
        return None
    return {grpc.StatusCode.UNAUTHENTICATED if role is None else grpc.StatusCode.PERMISSION_DENIED}


async def require_matrix(address: str, keys: Keys, methods: list[str]) -> None:
    wrong = []
    async with grpc.aio.insecure_channel(address) as channel:
        for method in methods:
            for role in (None, *Role):
                token = None if role is None else keys.issue(role)
                fields: dict[str, Any] = {}
                if role is Role.DEVICE:
                    fields = name_device(method, OWN)
                code = await call(channel, method, token, **fields)
                expected = expect(method, role)
                if (code in REFUSALS) if expected is None else (code not in expected):
                    wrong.append((method, role, code))
    assert wrong == []


def name_device(method: str, named: bytes) -> dict[str, Any]:
    """Return the fields with which a message of a method names a device; none for most methods."""
    hello = {"device_id": named, "incarnation": 1}
    match method.rpartition("/")[2]:
        case "Exchange" | "Sync":
            return {"hello": hello}
        case "GetSyncVersion":
            return {"device_id": named}
    return {}


async def test_the_matrix_of_a_shard(keys: Keys, guarded_shard: Any) -> None:
    await require_matrix(f"127.0.0.1:{guarded_shard.port}", keys, SHARD_METHODS)


async def test_the_matrix_of_a_federation(keys: Keys) -> None:
    async with run_federation(["127.0.0.1:1"], token_keys=keys.path) as federation:
        await require_matrix(f"127.0.0.1:{federation.port}", keys, FEDERATION_METHODS)


@pytest.mark.parametrize(
    "method", [each for each in SHARD_METHODS if METHOD_ROLES[each] == frozenset({Role.DEVICE})]
)
async def test_a_device_acts_in_its_own_name_only(
    keys: Keys, guarded_shard: Any, method: str
) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{guarded_shard.port}") as channel:
        other = keys.issue(Role.DEVICE, subject=FOREIGN.hex())
        await call(
            channel,
            "/constellation.v1.SyncService/Exchange",
            other,
            hello={"device_id": FOREIGN, "incarnation": 1},
            deltas=[{"seq": 1}],
        )
        assert guarded_shard.manager.find_cursor(FOREIGN) is not None
        token = keys.issue(Role.DEVICE)
        codes = {
            named: await call(channel, method, token, **name_device(method, named))
            for named in (OWN, FOREIGN, UNKNOWN)
        }

    assert codes[OWN] not in REFUSALS
    assert codes[FOREIGN] is codes[UNKNOWN] is grpc.StatusCode.PERMISSION_DENIED


async def test_the_matrix_over_rest(keys: Keys, guarded_shard: Any) -> None:
    document = json.loads(
        resources.files("constellation.v1").joinpath("openapi.json").read_text("utf-8")
    )
    wrong = []
    base = f"http://127.0.0.1:{guarded_shard.ports.rest}"
    async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
        for path, verbs in document["paths"].items():
            for verb, operation in verbs.items():
                method = find_method(operation["operationId"])
                if method not in SHARD_METHODS:
                    continue
                for role in (None, *Role):
                    headers = {}
                    if role is not None:
                        headers["authorization"] = f"Bearer {keys.issue(role)}"
                    body: dict[str, Any] | None = {} if verb == "post" else None
                    answer = await client.request(
                        verb.upper(), fill_path(path), headers=headers, json=body
                    )
                    refused = answer.status_code if answer.status_code in {401, 403} else None
                    roles = METHOD_ROLES[method]
                    needed = None if roles is None or role in roles else 401 if not role else 403
                    # A device's empty message names no device, so it is refused for that.
                    if refused != needed and role is not Role.DEVICE:
                        wrong.append((verb, path, role, answer.status_code))
    assert wrong == []


@pytest.mark.parametrize("sent", [b"Bearer \xff\xfe", b"Bearer a\tb", b""])
async def test_a_header_that_is_no_token_is_refused_over_rest(
    guarded_shard: Any, sent: bytes
) -> None:
    """It once ended in a crash of the request, because gRPC takes no such metadata."""
    base = f"http://127.0.0.1:{guarded_shard.ports.rest}"
    async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
        answer = await client.get("/api/v1/stats", headers={b"authorization": sent})

    assert answer.status_code == 401


def find_method(operation_id: str) -> str:
    """Return the method of an operation, whose id is its service and its name."""
    name = operation_id.rpartition("_")[2]
    (found,) = {each for each in METHOD_ROLES if each.endswith(f"/{name}")}
    return found


def fill_path(path: str) -> str:
    """Return a path whose parameters have a value."""
    while "{" in path:
        before, _, rest = path.partition("{")
        path = f"{before}x{rest.partition('}')[2]}"
    return path
