"""Measures what each message of at most a kilobyte costs the event loop of a full shard.

`python -m tests.transport.message_cost` prints the table of docs/security.md.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf import descriptor_pool, json_format

from constellation.auth.methods import METHOD_ROLES
from constellation.v1 import aggregates_pb2, patterns_pb2, shard_pb2, shard_pb2_grpc, sync_pb2
from tests.conftest import run_shard
from tests.deltas import PatternSpec, device_id
from tests.sharing import share_patterns
from tests.sync_client import make_delta_message, make_hello, make_pull, make_push, to_columns
from tests.transport.inbox_client import push_delta
from tests.transport.loop_cost import LoopCost, watch_loop
from tests.transport.services.globals import make_global, publish, to_frames
from tests.transport.worst_messages import MAX_BYTES, make_worst_messages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

    from constellation.server import RunningShard

Tries = Sequence[Sequence[bytes]]
"""The messages of a call, for each time that it is tried."""
MAX_SECONDS: Final = 0.005
"""How long one message may hold the event loop."""
STREAMED_ANSWERS: Final = frozenset({"GetCatalogue", "PullAggregate"})
"""Methods whose answer is as long as what they read: they take turns, and each turn counts."""
LEFT_OUT: Final = frozenset({"Drain", "Watch", "RunRound", "GetRound", "ListRounds"})
"""Drain ends the shard, Watch the patience; the others belong to a federation."""
_SHARD: Final = "/constellation.v1.ShardService/"
_SYNC: Final = "/constellation.v1.SyncService/"
_TRIES: Final = 300
"""Tries until one is cheap enough: while other tests use the same core, many are not."""
_FIRST_TRIES: Final = 6
"""Tries of a message that has an effect only once; each is for other devices."""
_PATTERNS_PER_DELTA: Final = 16
_OWNER: Final = 3000
"""The first of the devices with 256 patterns each: it keeps them, and each try takes three more."""
_OWNERS: Final = 1 + 3 * _FIRST_TRIES


@dataclass(frozen=True)
class Dearest:
    """The dearest message of a method."""

    method: str
    message: str
    size_bytes: int
    answer: str
    cost: LoopCost


@asynccontextmanager
async def open_full_shard() -> AsyncIterator[RunningShard]:
    """Open a shard with devices, patterns, a catalogue, and a global state with much of each."""
    async with run_shard(max_devices=5000, max_patterns=50_000, k_anonymity=1) as shard:
        for device in range(200):
            specs = [PatternSpec(n, direction=device * 10 + n) for n in range(8)]
            await push_delta(shard.manager, device, 1, specs)
        for device in range(_OWNER, _OWNER + _OWNERS):
            for seq in range(1, 17):
                await push_delta(shard.manager, device, seq, _make_rich_patterns(device, seq))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{shard.port}") as channel:
            stub = shard_pb2_grpc.ShardServiceStub(channel)
            for first in range(0, 2000, 100):
                contents = [_make_content(number) for number in range(first, first + 100)]
                await stub.AddContent(shard_pb2.AddContentRequest(contents=contents))
            await publish(channel, to_frames(_make_rich_global()))
        await share_patterns(shard.manager)
        yield shard


def _make_rich_patterns(device: int, seq: int) -> list[PatternSpec]:
    numbers = range(seq * _PATTERNS_PER_DELTA, (seq + 1) * _PATTERNS_PER_DELTA)
    return [
        PatternSpec(
            number,
            direction=(device * 10 + number) % 3000,
            contents=tuple(f"film:{(number + each) % 200}" for each in range(8)),
        )
        for number in numbers
    ]


def _make_content(number: int) -> shard_pb2.Content:
    return shard_pb2.Content(
        content_id=f"film:{number}",
        title="a title of some length " * 4,
        content_type=patterns_pb2.CONTENT_TYPE_MOVIE,
        genres=["Drama", "War"],
        encoding=patterns_pb2.ENCODING_FLOAT32,
        embedding=np.ones(384, "<f4").tobytes(),
    )


def _make_rich_global() -> aggregates_pb2.Global:
    specs = [
        PatternSpec(n, direction=n % 3000, genres=("Drama",), contents=(f"film:{n % 2000}",))
        for n in range(1000)
    ]
    rising, everywhere = patterns_pb2.TREND_DIRECTION_RISING, patterns_pb2.TREND_SCOPE_GLOBAL
    trends = [
        patterns_pb2.Trend(content_id=f"film:{n}", score=1.0, direction=rising, scope=everywhere)
        for n in range(500)
    ]
    clusters = aggregates_pb2.GlobalClusters(patterns=to_columns(specs))
    return make_global(clusters=clusters, trends=trends, closed_at=int(time.time()))


async def measure_all(monkeypatch: Any) -> list[Dearest]:
    """Return the dearest message of each method, frame and REST route."""
    found: list[Dearest] = []
    async with open_full_shard() as shard:
        target = f"127.0.0.1:{shard.port}"
        with grpc.insecure_channel(target) as channel:
            for method in METHOD_ROLES:
                if method.rpartition("/")[2] in LEFT_OUT:
                    continue
                measured = [
                    await _measure(monkeypatch, channel, method, name, tries)
                    for name, tries in _list_messages(method)
                ]
                found.append(max(measured, key=lambda each: each.cost.total_seconds))
        found += await _measure_rest(monkeypatch, shard.ports.rest)
    return found


async def _measure(
    monkeypatch: Any, channel: grpc.Channel, method: str, name: str, tries: Tries
) -> Dearest:
    """Return the cheapest of some tries: what else the machine does makes a try dearer only."""
    costs: list[tuple[float, LoopCost, str]] = []
    for messages in tries:
        with watch_loop(monkeypatch) as cost:
            answer = await asyncio.to_thread(_call, channel, method, messages)
            await asyncio.sleep(0.001)  # what follows the answer counts as well
        costs.append((cost.total_seconds, cost, answer))
        if cost.total_seconds < MAX_SECONDS:
            break
    _, cost, answer = min(costs, key=lambda each: each[0])
    return Dearest(method.rpartition("/")[2], name, len(tries[0][-1]), answer, cost)


def _call(channel: grpc.Channel, method: str, messages: Sequence[bytes]) -> str:
    """Make a call in a thread, so that the loop does the work of the server alone."""
    found = _find_method(method)
    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    call = kinds[found.client_streaming, found.server_streaming](method)
    try:
        answer = call(iter(messages) if found.client_streaming else messages[0], timeout=10)
        if found.server_streaming:
            for _ in answer:
                pass
    except grpc.RpcError as error:
        code: str = error.code().name
        return code
    return "OK"


def _find_method(method: str) -> Any:
    service, _, name = method.strip("/").rpartition("/")
    return descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]


def _list_messages(method: str) -> list[tuple[str, Tries]]:
    """Return messages of a method: those full of one field, and valid ones that ask for much."""
    worst = list(make_worst_messages(_find_method(method).input_type))
    found: list[tuple[str, Tries]] = [(name, [[data]] * _TRIES) for name, data in worst]
    if method == f"{_SYNC}Sync":
        hello = sync_pb2.SyncRequest(hello=make_hello(1)).SerializeToString()
        found += [(f"hello, then {name}", [[hello, data]] * _TRIES) for name, data in worst]
    for message in _make_questions().get(method, ()):
        found.append((_describe(message), [[message.SerializeToString()]] * _TRIES))
    changes = [_make_changes(attempt).get(method, []) for attempt in range(_FIRST_TRIES)]
    for same in zip(*changes, strict=True):
        found.append((_describe(same[0]), [[each.SerializeToString()] for each in same]))
    assert all(len(messages[-1]) <= MAX_BYTES for _, tries in found for messages in tries)
    return found


def _describe(message: Message) -> str:
    return f"valid: {str(message)[:40]!r}"


def _make_questions() -> dict[str, list[Message]]:
    """Return valid messages by method that ask for as much as they may, and change nothing."""
    owner = device_id(_OWNER)
    return {
        f"{_SHARD}SearchPatterns": [
            shard_pb2.SearchPatternsRequest(content_id="film:1", limit=500),
            shard_pb2.SearchPatternsRequest(device_id=owner, limit=500),
        ],
        f"{_SHARD}SamplePatterns": [shard_pb2.SamplePatternsRequest(limit=1000)],
        f"{_SHARD}ListDevices": [shard_pb2.ListDevicesRequest(page_size=1000)],
        f"{_SHARD}GetDevice": [shard_pb2.GetDeviceRequest(device_id=owner)],
        f"{_SHARD}ListTrends": [shard_pb2.ListTrendsRequest(hours=168)],
        f"{_SYNC}Exchange": [
            make_pull(_OWNER, pattern_capacity=1000),
            make_pull(_OWNER, pattern_capacity=1000, held_similar_ids=bytes(16 * 50)),
        ],
    }


def _make_changes(attempt: int) -> dict[str, list[Message]]:
    """Return valid messages by method that change as much as they may.

    A second time they would change nothing, so those of each attempt are for other devices.
    """
    device, owner = 1 + 3 * attempt, _OWNER + 1 + 3 * attempt
    hour = int(time.time()) // 3600
    signals = [(f"new{attempt}:{number}", hour - number // 4) for number in range(76)]
    liked = [f"l{attempt}{number}" for number in range(100)]
    return {
        f"{_SHARD}DeleteDevice": [shard_pb2.DeleteDeviceRequest(device_id=device_id(owner))],
        f"{_SYNC}Exchange": [
            make_push(device, make_delta_message(2, [PatternSpec(1), PatternSpec(2)])),
            make_push(device + 1, make_delta_message(2, signals=signals)),
            make_push(device + 2, make_delta_message(2, liked=liked)),
            make_push(owner + 1, make_delta_message(17, snapshot=True)),
            make_push(owner + 2, make_delta_message(17, removed_numbers=list(range(64, 120)))),
        ],
    }


async def _measure_rest(monkeypatch: Any, port: int) -> list[Dearest]:
    empty, deep = b"{}", b'{"hello": ' * 90 + b"{}" + b"}" * 90
    names = b"{" + b",".join(b'"%d":0' % number for number in range(140)) + b"}"
    numbers = b'{"hello": {"device_id": "AA=="}, "deltas": [{"removed_ids": [%s0]}]}' % (
        b"0," * 480
    )
    push = _make_changes(0)[f"{_SYNC}Exchange"][1]
    valid = json_format.MessageToJson(push, indent=None)[:MAX_BYTES].encode()
    query = "/api/v1/content/x?" + "&".join(f"a{number}=" for number in range(200))
    requests = [
        *(("POST", path, body) for path in ("/api/v1/content", "/api/v1/sync")
          for body in (empty, deep, names, numbers, valid)),
        ("GET", query[:MAX_BYTES], None),
        ("GET", "/api/v1/content/film%3A1", None),
        ("GET", "/api/v1/stats", None),
        ("GET", "/openapi.json", None),
    ]  # fmt: skip
    found: dict[str, Dearest] = {}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        for verb, path, body in requests:
            headers = {"content-type": "application/json"} if body is not None else {}
            costs: list[tuple[float, LoopCost, int]] = []
            for _ in range(_TRIES):
                with watch_loop(monkeypatch) as cost:
                    answer = await asyncio.to_thread(
                        client.request, verb, path, content=body, headers=headers
                    )
                costs.append((cost.total_seconds, cost, answer.status_code))
                if cost.total_seconds < MAX_SECONDS:
                    break
            _, cost, status = min(costs, key=lambda each: each[0])
            name = f"REST {verb} {path.partition('?')[0]}"
            row = Dearest(
                name, str((body or path.encode())[:30]), len(body or path), str(status), cost
            )
            if name not in found or found[name].cost.total_seconds < cost.total_seconds:
                found[name] = row
    return list(found.values())


def main() -> int:
    """Print the table, the dearest first."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        found = asyncio.run(measure_all(monkeypatch))
    sys.stdout.write("| call | dearest message | answer | loop in all, ms | at once, ms |\n")
    sys.stdout.write("|---|---|---|---|---|\n")
    for row in sorted(found, key=lambda each: -each.cost.total_seconds):
        sys.stdout.write(
            f"| {row.method} | {row.message} ({row.size_bytes} B) | {row.answer} | "
            f"{row.cost.total_seconds * 1e3:.1f} | {row.cost.longest_seconds * 1e3:.1f} |\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
