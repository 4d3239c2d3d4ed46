"""How strictly REST reads a request, and how exactly it says what is wrong with one."""

from __future__ import annotations

import asyncio
import base64
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import grpc
import httpx
import pytest

from constellation.transport.rest.app import make_rest_app
from tests.conftest import run_shard
from tests.deltas import device_id
from tests.federation.fleet import get_address
from tests.transport.rest.rest_client import CONTENT, get_refusal, open_client

if TYPE_CHECKING:
    from constellation.server import RunningShard

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTENT_PATH = "/api/v1/content"
CURSOR_PATH = "/api/v1/sync/version"


@pytest.mark.parametrize("path", ["/health", "/openapi.json", "/api/v1/content/none", "/nowhere"])
async def test_head_answers_as_get_does_without_a_body(rest: httpx.AsyncClient, path: str) -> None:
    get, head = await rest.get(path), await rest.head(path)

    assert head.content == b""
    assert head.status_code == get.status_code
    kept = ("content-type", "content-length")
    assert [head.headers[name] for name in kept] == [get.headers[name] for name in kept]


async def test_options_tells_the_verbs(rest: httpx.AsyncClient) -> None:
    health = await rest.options("/health")
    content = await rest.options(CONTENT_PATH)
    nowhere = await rest.options("/nowhere")

    assert (health.status_code, health.content) == (204, b"")
    assert health.headers["allow"] == "GET, HEAD, OPTIONS"
    assert "POST" in content.headers["allow"]
    assert nowhere.status_code == 404


@pytest.mark.parametrize("verb", ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
async def test_a_verb_that_a_path_does_not_have_is_405(rest: httpx.AsyncClient, verb: str) -> None:
    answer = await rest.request(verb, "/health")

    assert get_refusal(answer) == (
        405,
        "METHOD_NOT_ALLOWED",
        f"/health does not support {verb}: use GET, HEAD, OPTIONS",
    )
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    "path", ["/", "/health/", "//health", "/health%0A", "/Health", "/api/v1/content/", "/%FF"]
)
async def test_a_path_that_is_not_there_is_404(rest: httpx.AsyncClient, path: str) -> None:
    status, reason, message = get_refusal(await rest.get(path))

    assert (status, reason) == (404, "NO_SUCH_ROUTE")
    assert "GET /openapi.json lists the paths" in message


async def test_a_path_may_be_percent_encoded(rest: httpx.AsyncClient) -> None:
    assert (await rest.get("/he%61lth")).status_code == 200


@pytest.mark.parametrize(
    "content_id",
    ["a/b", "50% off", "a b", "+", "ü€", "?", "#", "a\u2003b", "...", "{x}", ";v=1", "%2F"],
)
async def test_a_content_id_is_one_segment(rest: httpx.AsyncClient, content_id: str) -> None:
    added = await rest.post(CONTENT_PATH, json={"contents": [CONTENT | {"content_id": content_id}]})
    found = await rest.get(f"{CONTENT_PATH}/{quote(content_id, safe='')}")

    assert added.status_code == 200
    assert found.json()["content"]["content_id"] == content_id


@pytest.mark.parametrize("content_id", [".", ".."])
async def test_dots_alone_cannot_be_named(rest: httpx.AsyncClient, content_id: str) -> None:
    await rest.post(CONTENT_PATH, json={"contents": [CONTENT | {"content_id": content_id}]})

    answer = await rest.get(f"{CONTENT_PATH}/{content_id}")

    assert answer.status_code in (404, 405)  # the client has taken the dots out


async def test_a_path_parameter_that_is_not_utf8_is_refused(rest: httpx.AsyncClient) -> None:
    answer = await rest.get(f"{CONTENT_PATH}/%ff")

    assert get_refusal(answer) == (400, "INVALID_INPUT", r"content_id must be UTF-8, got b'\xff'")


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        (
            "nobody=1",
            "nobody is not a parameter of GET /api/v1/sync/version: its parameters are device_id",
        ),
        ("=1", "'' is not a parameter of GET /api/v1/sync/version: its parameters are device_id"),
        ("device_id=YQ&device_id=YQ", "device_id must be given once, got 2 values"),
        ("device_id=%FF", "query must be percent-encoded UTF-8"),
        ("device_id=a+b", "device_id must be base64, got 'a b'"),
        ("device_id=YQ===", "device_id must be base64, got 'YQ==='"),
        ("device_id=YQ", "device_id must be 16 bytes, got 1"),
        ("", "device_id must be 16 bytes, got 0"),
        ("&".join(["device_id=YQ"] * 1001), "query must have at most 1000 parameters"),
    ],
)
async def test_a_wrong_query_is_refused(rest: httpx.AsyncClient, query: str, problem: str) -> None:
    answer = await rest.get(f"{CURSOR_PATH}?{query}")

    status, reason, message = get_refusal(answer)
    assert (status, reason) == (400, "INVALID_INPUT")
    assert message.startswith(problem)
    bad = answer.json()["error"]["details"][1]
    assert bad["@type"].endswith("google.rpc.BadRequest")
    assert message.startswith(bad["fieldViolations"][0]["field"])


async def test_device_ids_come_in_either_base64(rest: httpx.AsyncClient) -> None:
    device = b"\xfb\xff" * 8  # has both letters that differ
    standard = base64.b64encode(device).decode()
    safe = base64.urlsafe_b64encode(device).decode().rstrip("=")
    delta = {"seq": 1, "signals": {"contentIds": ["film:1"], "hours": ["500000"]}}
    sent = {"hello": {"device_id": safe, "incarnation": "1"}, "deltas": [delta]}

    pushed = await rest.post("/api/v1/sync", json=sent)
    cursors = [await rest.get(CURSOR_PATH, params={"device_id": each}) for each in (standard, safe)]

    assert pushed.json()["ack"]["through_seq"] == "1"
    assert [cursor.json()["through_seq"] for cursor in cursors] == ["1", "1"]


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (None, 200),
        ("", 200),
        ("*/*", 200),
        ("application/*;q=0.1", 200),
        ("text/html, application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/json;q=0, */*", 406),
        ("text/html", 406),
        ("text/html, */*;q=0", 406),
        ("application/xml;q=0.9, image/*", 406),
    ],
)
async def test_the_caller_must_accept_json(
    rest: httpx.AsyncClient, accept: str | None, status: int
) -> None:
    request = rest.build_request("GET", "/health")
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept

    answer = await rest.send(request)

    assert answer.status_code == status
    if status == 406:
        assert get_refusal(answer)[1:] == (
            "NOT_ACCEPTABLE",
            f"responses are application/json, but accept is {accept!r}: accept application/json",
        )


async def test_a_servicers_error_keeps_its_details(rest: httpx.AsyncClient) -> None:
    answer = await rest.post(CONTENT_PATH, json={"contents": []})

    assert get_refusal(answer)[:2] == (400, "INVALID_INPUT")
    assert answer.json()["error"]["details"][1]["fieldViolations"] == [
        {"field": "contents", "description": "must be from 1 to 256, got 0"}
    ]


async def test_a_full_shard_says_when_to_come_back() -> None:
    async with run_shard(max_devices=0) as shard, open_client(shard) as rest:
        sent = {
            "hello": {
                "device_id": base64.b64encode(device_id(0)).decode(),
                "incarnation": "1",
            },
            "deltas": [{"seq": "1"}],
        }
        answer = await rest.post("/api/v1/sync", json=sent)

    assert get_refusal(answer)[:2] == (429, "SHARD_FULL")
    assert answer.headers["retry-after"] == "5"


async def test_a_process_that_does_not_answer_is_503() -> None:
    with socket.socket() as taken:  # bound and not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with grpc.aio.insecure_channel(address) as channel:
            app = make_rest_app(channel, ["constellation.v1.HealthService"])
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as rest:
                answer = await rest.get("/health")

    assert get_refusal(answer)[:2] == (503, "UNAVAILABLE")
    assert answer.headers["retry-after"] == "5"


async def test_a_caller_that_leaves_in_the_middle_is_no_crash(shared_shard: RunningShard) -> None:
    scope = {
        "type": "http",
        "method": "POST",
        "path": CONTENT_PATH,
        "raw_path": CONTENT_PATH.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")],
    }
    sent: list[Any] = []

    async def receive() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with grpc.aio.insecure_channel(get_address(shared_shard)) as channel:
        await make_rest_app(channel, ["constellation.v1.ShardService"])(scope, receive, send)

    assert sent[0]["status"] == 499


async def test_what_breaks_inside_stays_inside(shared_shard: RunningShard) -> None:
    channel = grpc.aio.insecure_channel(get_address(shared_shard))
    app = make_rest_app(channel, ["constellation.v1.HealthService"])
    await channel.close()  # a call on it raises what no client should see
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as rest:
        answer = await rest.get("/health")

    assert get_refusal(answer) == (500, "INTERNAL", "internal error")


async def ask_raw(shard: RunningShard, request_line: str, *headers: str) -> tuple[str, str]:
    """Send a request line as it stands; return the status line, and what follows it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", shard.ports.rest)
    lines = (request_line, "Host: shard", "Connection: close", *headers, "", "")
    writer.write("\r\n".join(lines).encode())
    status, _, rest = (await reader.read()).decode().partition("\r\n")
    writer.close()
    return status, rest


@pytest.mark.parametrize(
    "target",
    [
        "http://shard/health/ready",
        "HTTP://shard:8080/health/ready",
        "https://shard/health/ready?",
        "http://shard/api/v1/content?page_size=1",
        "http://shard/api/v1/content/film:1%2Fb",
    ],
)
async def test_a_target_in_absolute_form_is_its_path(
    shared_shard: RunningShard, target: str
) -> None:
    path = "/" + target.split("/", 3)[3]

    in_full = await ask_raw(shared_shard, f"GET {target} HTTP/1.1")
    by_path = await ask_raw(shared_shard, f"GET {path} HTTP/1.1")

    assert in_full[0] == by_path[0]
    assert in_full[1].partition("\r\n\r\n")[2] == by_path[1].partition("\r\n\r\n")[2]


async def test_a_target_without_a_path_is_the_root(shared_shard: RunningShard) -> None:
    status, _ = await ask_raw(shared_shard, "GET http://shard HTTP/1.1")

    assert status.startswith("HTTP/1.1 404")


async def test_options_of_the_whole_server_lists_all_verbs(shared_shard: RunningShard) -> None:
    status, rest = await ask_raw(shared_shard, "OPTIONS * HTTP/1.1")

    assert status.startswith("HTTP/1.1 204")
    assert "allow: get, head, options, post" in rest.lower()


@pytest.mark.parametrize("request_line", ["GET * HTTP/1.1", "OPTIONS ** HTTP/1.1"])
async def test_a_star_is_no_resource(shared_shard: RunningShard, request_line: str) -> None:
    status, _ = await ask_raw(shared_shard, request_line)

    assert status.startswith("HTTP/1.1 404")
