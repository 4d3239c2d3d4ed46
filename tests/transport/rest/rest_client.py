"""A client of a shard's REST port, and what its errors say."""

from __future__ import annotations

import base64
import json
from importlib import resources
from typing import TYPE_CHECKING

from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    import httpx

    from constellation.server import RunningShard

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from constellation.server import RunningShard

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx

from tests.deltas import embedding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from constellation.server import RunningShard
    from federation.server import RunningFederation


@asynccontextmanager
async def open_client(
    process: RunningShard | RunningFederation,
) -> AsyncIterator[httpx.AsyncClient]:
    address = f"http://127.0.0.1:{process.ports.rest}"
    async with httpx.AsyncClient(base_url=address, verify=False) as found:  # noqa: S501 - no TLS
        yield found


CONTENT = {
    "content_id": "film:1",
    "title": "A film",
    "content_type": "CONTENT_TYPE_MOVIE",
    "genres": ["Drama"],
    "encoding": "ENCODING_FLOAT32",
    "embedding": base64.b64encode(embedding(1).astype("<f4").tobytes()).decode(),
}


def get_error_info(error: dict[str, Any]) -> dict[str, Any]:
    infos = [each for each in error["details"] if each["@type"].endswith("google.rpc.ErrorInfo")]
    assert len(infos) == 1
    info: dict[str, Any] = infos[0]
    assert info["domain"] == "constellation"
    return info


def get_refusal(answer: httpx.Response) -> tuple[int, str, str]:
    """Return an error's status, reason and message, once it is one as AIP-193 says."""
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    assert set(error) == {"code", "message", "status", "details"}
    return answer.status_code, get_error_info(error)["reason"], error["message"]


def get_error(answer: httpx.Response, path: str, verb: str = "get") -> dict[str, Any]:
    require_documented(answer, path, verb)
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == answer.status_code
    infos = [each for each in error["details"] if each["@type"].endswith("google.rpc.ErrorInfo")]
    assert [info["domain"] for info in infos] == ["constellation"]
    return error


def require_documented(answer: httpx.Response, path: str, verb: str = "get") -> None:
    """Compare an answer with what the OpenAPI document says of it."""
    responses = DOCUMENT["paths"][path][verb]["responses"]
    documented = responses.get(
        str(answer.status_code), DOCUMENT["components"]["responses"]["Error"]
    )
    schema = documented["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(answer.json())


DOCUMENT = json.loads(resources.files("constellation.v1").joinpath("openapi.json").read_text())
