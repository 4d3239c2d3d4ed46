"""The HTTP listener of REST answers on its address for as long as its block lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from constellation.errors import ConfigError
from constellation.transport.rest.listener import serve_rest
from tests.federation.fleet import get_address

if TYPE_CHECKING:
    from constellation.server import RunningShard

HEALTH_SERVICE = "constellation.v1.HealthService"


@pytest.mark.parametrize(("address", "host"), [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "[::1]")])
async def test_the_listener_answers_until_its_block_is_left(
    shard: RunningShard, address: str, host: str
) -> None:
    async with httpx.AsyncClient() as client:
        async with serve_rest(address, get_address(shard), [HEALTH_SERVICE]) as port:
            answer = await client.get(f"http://{host}:{port}/health/live")
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://{host}:{port}/health/live")

    assert answer.json()["live"] is True


async def test_only_the_routes_of_the_named_services_exist(shard: RunningShard) -> None:
    async with (
        serve_rest("127.0.0.1:0", get_address(shard), [HEALTH_SERVICE]) as port,
        httpx.AsyncClient() as client,
    ):
        answer = await client.get(f"http://127.0.0.1:{port}/api/v1/info")

    assert answer.status_code == 404


async def test_an_address_in_use_is_an_error_that_names_it(shard: RunningShard) -> None:
    taken = f"127.0.0.1:{shard.ports.rest}"

    with pytest.raises(ConfigError, match=f"REST_ADDR: cannot listen on {taken}"):
        async with serve_rest(taken, get_address(shard), []):
            pass
