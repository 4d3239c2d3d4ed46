"""What REST accepts as a body, and how it refuses everything else."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from constellation.transport.rest.request import MAX_BODY_BYTES
from tests.transport.rest.rest_client import (
    CONTENT,
    get_error,
    get_error_info,
    get_refusal,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from constellation.server import RunningShard


pytestmark = pytest.mark.asyncio(loop_scope="module")


JSON = {"content-type": "application/json"}


CONTENT_PATH = "/api/v1/content"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 415),
        ({"content-type": ""}, 415),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json-patch+json"}, 415),
        ({"content-type": "application/json; charset=latin-1"}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ({"content-type": "application/json; charset=UTF-8"}, 200),
        ({"content-type": "Application/JSON;charset=utf8"}, 200),
        ({"content-type": "application/json", "content-encoding": "identity"}, 200),
    ],
)
async def test_a_body_must_be_declared_as_json(
    rest: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    body = json.dumps({"contents": [CONTENT]}).encode()

    answer = await rest.post(CONTENT_PATH, content=body, headers=headers)

    assert answer.status_code == status
    if status == 415:
        assert get_refusal(answer)[1] == "UNSUPPORTED_MEDIA_TYPE"


async def test_a_body_that_says_it_is_too_large_is_not_read(
    shared_shard: RunningShard,
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", shared_shard.ports.rest)
    writer.write(
        b"POST /api/v1/content HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
    )

    status = await asyncio.wait_for(reader.readline(), 10)

    writer.close()
    await writer.wait_closed()
    assert status.split()[1] == b"413"  # and no 100 Continue before it


async def test_a_body_that_grows_too_large_is_cut(rest: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 65536 + 1):
            yield b" " * 65536

    answer = await rest.post(CONTENT_PATH, content=chunks(), headers=JSON)

    assert get_refusal(answer) == (
        413,
        "BODY_TOO_LARGE",
        f"the body must be at most {MAX_BODY_BYTES} bytes: send several requests",
    )
    assert get_error_info(answer.json()["error"])["metadata"] == {
        "limit_bytes": str(MAX_BODY_BYTES)
    }


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "the body must be JSON: Expecting value"),
        (b"{", "the body must be JSON: "),
        (b'{"contents": []} {}', "the body must be JSON: Extra data"),
        (b"[]", "the body must be a JSON object, got []"),
        (b"null", "the body must be a JSON object, got None"),
        (b"[" * 100_000, "the body must be JSON that is less deeply nested"),
        (b'{"a":' * 100_000, "the body must be JSON that is less deeply nested"),
        (b'{"contents": "\xff"}', "the body must be UTF-8: byte 14 is not"),
        (b'\xef\xbb\xbf{"contents": []}', "the body must be JSON: Unexpected UTF-8 BOM"),
        ('{"contents": []}'.encode("utf-16"), "the body must be UTF-8: byte 0 is not"),
        (b'{"contents": [], "contents": []}', "the body must name each field once, got 'contents'"),
        (b'{"contents": NaN}', "the body must be JSON: NaN is not"),
        (b'{"contents": -Infinity}', "the body must be JSON: -Infinity is not"),
        (b'{"contents": ' + b"9" * 5000 + b"}", "the body must be JSON: "),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(
    rest: httpx.AsyncClient, body: bytes, problem: str
) -> None:
    status, reason, message = get_refusal(await rest.post(CONTENT_PATH, content=body, headers=JSON))

    assert (status, reason) == (400, "MALFORMED_BODY")
    assert message.startswith(problem)


async def test_an_invalid_field_is_named(rest: httpx.AsyncClient) -> None:
    values = {"contents": [{"year": "1_0"}]}

    answer = await rest.post(CONTENT_PATH, json=values)

    error = get_error(answer, CONTENT_PATH, "post")
    assert get_refusal(answer)[:2] == (400, "INVALID_INPUT")
    violation = error["details"][1]["fieldViolations"][0]
    assert violation["field"] == "contents[0].year"
    assert error["message"] == f"{violation['field']} {violation['description']}"


@pytest.mark.parametrize("content_type", ["CONTENT_TYPE_LIVE", 3, 3.0])
async def test_an_enum_is_a_name_or_a_number(rest: httpx.AsyncClient, content_type: object) -> None:
    content = CONTENT | {"content_type": content_type}
    await rest.post(CONTENT_PATH, json={"contents": [content]})

    found = await rest.get(f"{CONTENT_PATH}/film:1")

    assert found.json()["content"]["content_type"] == "CONTENT_TYPE_LIVE"


async def test_a_long_value_is_cut_in_the_message(rest: httpx.AsyncClient) -> None:
    answer = await rest.post(CONTENT_PATH, json={"contents": "x" * 100_000})

    assert len(answer.content) < 1000


async def test_a_post_takes_no_query(rest: httpx.AsyncClient) -> None:
    answer = await rest.post(f"{CONTENT_PATH}?contents=1", json={"contents": [CONTENT]})

    assert get_refusal(answer)[2].startswith("contents is not a parameter of POST /api/v1/content")
