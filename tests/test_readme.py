"""The README's example of the SDK, run as it stands there against a real shard."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

import constellation_settop
from constellation.v1.shard_pb2 import AddContentRequest
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from tests.servers import make_content_message

if TYPE_CHECKING:
    import pytest

    from constellation.server import RunningShard

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
EXAMPLE = re.compile(r"```python\n(.*?)```", re.DOTALL)


async def test_the_example_of_the_sdk_observes_and_recommends(
    shard: RunningShard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = EXAMPLE.findall(README)
    example = example.replace("shard.example:50051", f"127.0.0.1:{shard.port}")
    example = example.replace("/var/lib/tv", str(tmp_path))
    contents = [
        make_content_message(f"film:{name}", name, seed)
        for seed, name in enumerate(("heat-1995", "ronin-1998", "up-2009"))
    ]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel:
        await ShardServiceStub(channel).AddContent(AddContentRequest(contents=contents))
    names: dict[str, Any] = vars(constellation_settop).copy()

    program = f"async def example():\n{textwrap.indent(example, '    ')}"
    exec(compile(program, "README.md", "exec"), names)  # noqa: S102 - our own text
    await names["example"]()

    recommended = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert sorted(recommended) == ["film:ronin-1998", "film:up-2009"]
