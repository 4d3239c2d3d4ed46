"""REST, as curl and probes see it: the generated routes over a real listener."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from openapi_spec_validator import validate

from constellation.config import Address
from constellation.core.ingest.deltas import Verdict
from constellation.errors import ConfigError, NotReadyError
from constellation.transport.rest.request import MAX_BODY_BYTES
from tests.conftest import run_shard
from tests.deltas import device_id
from tests.federation.fleet import (
    get_address,
    make_drama_device,
    push_devices,
    run_federation,
    run_round,
    run_shards,
)
from tests.polling import wait_until
from tests.transport.rest.rest_client import (
    CONTENT,
    DOCUMENT,
    get_error,
    open_client,
    require_documented,
)

if TYPE_CHECKING:
    from constellation.server import RunningShard

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
DEVICE = base64.b64encode(device_id(0)).decode()


@pytest.mark.parametrize(
    "path",
    [
        "/health",
        "/health/ready",
        "/health/live",
        "/health/detailed",
        "/api/v1/info",
        "/api/v1/stats",
        "/api/v1/shards",
    ],
)
async def test_a_shards_routes_answer_as_they_are_described(shard: RunningShard, path: str) -> None:
    async with open_client(shard) as rest:
        answer = await rest.get(path)
        head = await rest.head(path)

    assert answer.status_code == head.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert head.content == b""
    require_documented(answer, path)


async def test_content_goes_in_and_comes_out(shard: RunningShard) -> None:
    async with open_client(shard) as rest:
        added = await rest.post("/api/v1/content", json={"contents": [CONTENT]})
        found = await rest.get("/api/v1/content/film:1")
        missing = await rest.get("/api/v1/content/film:2")

    assert added.json() == {"added_count": 1, "replaced_count": 0}
    require_documented(added, "/api/v1/content", "post")
    assert found.json()["content"]["title"] == "A film"
    require_documented(found, "/api/v1/content/{content_id}")
    error = get_error(missing, "/api/v1/content/{content_id}")
    assert (error["code"], error["status"]) == (404, "NOT_FOUND")
    assert error["details"][0]["reason"] == "NOT_FOUND"


async def test_a_delta_may_come_by_rest_and_counts_once(shard: RunningShard) -> None:
    signals = {"content_ids": ["film:1"], "hours": [500_000]}
    hello = {"device_id": DEVICE, "incarnation": "1"}
    sent = {"hello": hello, "deltas": [{"seq": "1", "signals": signals}]}
    async with open_client(shard) as rest:
        first = await rest.post("/api/v1/sync", json=sent)
        again = await rest.post("/api/v1/sync", json=sent)
        cursor = await rest.get("/api/v1/sync/version", params={"device_id": DEVICE})

    assert [each.json()["ack"]["through_seq"] for each in (first, again)] == ["1", "1"]
    assert cursor.json()["through_seq"] == "1"
    require_documented(cursor, "/api/v1/sync/version")
    assert shard.manager.stats.deltas[Verdict.APPLIED] == 1


@pytest.mark.parametrize(
    ("kind", "body", "status", "problem"),
    [
        ("application/json", b"{", 400, "must be JSON"),
        ("application/json", b"[]", 400, "must be a JSON object"),
        (
            "application/json",
            b'{"nothing": 1}',
            400,
            "nothing is unknown: AddContentRequest has contents",
        ),
        ("application/json", b'{"contents": []}', 400, "contents must be from 1 to 256, got 0"),
        ("application/json", b"[" * 100_000, 400, "must be JSON"),
        ("text/plain", b"{}", 415, "content-type must be application/json"),
        ("application/json", b" " * (MAX_BODY_BYTES + 1), 413, "must be at most"),
    ],
)
async def test_a_body_that_makes_no_sense_is_refused(
    shard: RunningShard, kind: str, body: bytes, status: int, problem: str
) -> None:
    async with open_client(shard) as rest:
        answer = await rest.post("/api/v1/content", content=body, headers={"content-type": kind})

    error = get_error(answer, "/api/v1/content", "post")
    assert error["code"] == status
    assert problem in error["message"]


@pytest.mark.parametrize(
    ("path", "status", "problem"),
    [
        ("/api/v1/sync/version?device_id=!", 400, "device_id must be base64, got '!'"),
        (
            "/api/v1/sync/version?nobody=1",
            400,
            "nobody is not a parameter of GET /api/v1/sync/version: its parameters are",
        ),
        ("/api/v1/rounds", 404, "there is no path '/api/v1/rounds'"),  # a federation's
        ("/nowhere", 404, "there is no path '/nowhere'"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(
    shard: RunningShard, path: str, status: int, problem: str
) -> None:
    async with open_client(shard) as rest:
        answer = await rest.get(path)

    assert answer.status_code == status
    assert problem in answer.json()["error"]["message"]


async def test_another_verb_is_not_allowed(shard: RunningShard) -> None:
    async with open_client(shard) as rest:
        answer = await rest.put("/health")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert answer.json()["error"]["status"] == "UNIMPLEMENTED"


async def test_readiness_is_503_while_the_store_is_unavailable() -> None:
    async def fail() -> None:
        raise NotReadyError("unplugged")

    async with run_shard() as shard, open_client(shard) as rest:
        shard.manager.store.probe = fail  # type: ignore[method-assign]  # breaks one thing

        async def is_not_ready() -> bool:
            return bool((await rest.get("/health/ready")).status_code == 503)

        await wait_until(is_not_ready)
        ready, live, health = [
            await rest.get(path) for path in ("/health/ready", "/health/live", "/health")
        ]

    assert ready.json() == {"ready": False, "reason": "store: unplugged"}
    require_documented(ready, "/health/ready")
    assert live.status_code == 200
    assert health.status_code == 503
    assert health.json()["status"] == "HEALTH_STATUS_UNHEALTHY"


async def test_readiness_is_503_while_draining(shard: RunningShard) -> None:
    shard.health.mark_not_ready("draining")
    async with open_client(shard) as rest:
        answer = await rest.get("/health/ready")

    assert answer.status_code == 503
    assert answer.json()["reason"] == "draining"


async def test_a_federations_routes_answer_as_they_are_described() -> None:
    async with run_shards(2) as (north, south):
        await push_devices(north, [make_drama_device(number) for number in range(6)])
        await push_devices(south, [make_drama_device(number) for number in range(10, 16)])
        async with (
            run_federation([get_address(north), get_address(south)]) as federation,
            open_client(federation) as rest,
        ):
            none = await rest.get("/api/v1/rounds/0")
            ran = await rest.post("/api/v1/rounds:run")
            await run_round(federation)
            newest = await rest.get("/api/v1/rounds/0")
            page = await rest.get("/api/v1/rounds", params={"page_size": 1})
            wrong = await rest.get("/api/v1/rounds/x")
            health = await rest.get("/health/detailed")

    assert get_error(none, "/api/v1/rounds/{round_id}")["code"] == 404
    assert ran.json()["round"]["state"] == "ROUND_STATE_PUBLISHED"
    require_documented(ran, "/api/v1/rounds:run", "post")
    assert newest.json()["round"]["round_id"] == "2"
    require_documented(newest, "/api/v1/rounds/{round_id}")
    assert [each["round_id"] for each in page.json()["rounds"]] == ["2"]
    assert get_error(wrong, "/api/v1/rounds/{round_id}")["code"] == 400
    assert health.status_code == 200


async def test_each_process_describes_its_own_routes(shard: RunningShard) -> None:
    async with open_client(shard) as rest:
        document = (await rest.get("/openapi.json")).json()

    validate(document)
    assert "/api/v1/info" in document["paths"]
    assert "/api/v1/rounds" not in document["paths"]
    assert "Round" not in document["components"]["schemas"]
    assert [tag["name"] for tag in document["tags"]] == [
        "HealthService",
        "ShardService",
        "SyncService",
    ]


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_every_route_is_documented() -> None:
    rows = re.findall(r"^\| `([A-Z]+ /\S+)` \|", OPERATIONS.read_text(), re.MULTILINE)

    assert sorted(rows) == sorted(
        f"{verb.upper()} {path}" for path, verbs in DOCUMENT["paths"].items() for verb in verbs
    )


async def test_a_shard_whose_rest_address_is_taken_does_not_start(shard: RunningShard) -> None:
    with pytest.raises(ConfigError, match="REST_ADDR"):
        async with run_shard(rest_addr=Address(f"127.0.0.1:{shard.ports.rest}")):
            pass
