"""Calls are counted by method: how many began, how they ended, and their messages."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from constellation.transport.calls.counters import CallStats, MethodStats, read_final_code
from constellation.transport.calls.interceptor import CallKind
from constellation.v1 import sync_pb2 as pb
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from tests.polling import wait_until
from tests.transport.calls.echo import call_every_method, run_echo_server

SYNC = "/constellation.v1.SyncService"


def find(calls: CallStats, method: str) -> MethodStats:
    (stats,) = [each for each in calls.methods() if each.method == method]
    return stats


async def test_every_kind_of_call_counts_what_it_carries() -> None:
    calls = CallStats()
    async with run_echo_server([calls.count_calls]) as channel:
        await call_every_method(channel)

    assert {each.method: (each.received, each.sent) for each in calls.methods()} == {
        "GetSyncVersion": (1, 1),
        "PullAggregate": (1, 3),
        "PublishGlobal": (2, 1),
        "Sync": (0, 0),  # the servicer of a bidirectional stream counts these itself
    }
    assert {each.started for each in calls.methods()} == {1}
    assert [dict(each.handled) for each in calls.methods()] == [{"OK": 1}] * 4


async def test_a_call_that_fails_is_counted_by_its_status() -> None:
    calls = CallStats()
    async with run_echo_server([calls.count_calls]) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await SyncServiceStub(channel).GetSyncVersion(
                pb.GetSyncVersionRequest(device_id=b"missing")
            )
        stats = find(calls, "GetSyncVersion")

        async def is_counted() -> bool:  # the caller may have its answer a moment before
            return bool(stats.handled)

        await wait_until(is_counted)

    assert (stats.started, stats.received, stats.sent) == (1, 1, 0)
    assert dict(stats.handled) == {"NOT_FOUND": 1}


async def test_only_unary_calls_are_timed() -> None:
    calls = CallStats()
    async with run_echo_server([calls.count_calls]) as channel:
        await call_every_method(channel)

    timed = {each.method: each.seconds.cumulative()[-1] for each in calls.methods()}
    assert timed == {"GetSyncVersion": 1, "PullAggregate": 0, "PublishGlobal": 0, "Sync": 0}


class EndedContext:
    """The part of grpcio's context that says with which code a call ended."""

    def __init__(self, code: Any) -> None:
        self._code = code

    def code(self) -> Any:
        return self._code


@pytest.mark.parametrize("raised", [asyncio.CancelledError(), GeneratorExit()])
def test_a_call_that_is_cancelled_ends_with_cancelled(raised: BaseException) -> None:
    context: Any = EndedContext(0)

    assert read_final_code(raised, context) is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.NOT_FOUND),
        (5, grpc.StatusCode.NOT_FOUND),
        (0, grpc.StatusCode.UNKNOWN),
        (None, grpc.StatusCode.UNKNOWN),
        (99, grpc.StatusCode.UNKNOWN),
    ],
)
def test_a_call_that_raises_ends_with_the_code_of_its_context(
    code: Any, status: grpc.StatusCode
) -> None:
    context: Any = EndedContext(code)

    assert read_final_code(RuntimeError(), context) is status


def test_a_method_has_one_set_of_counts() -> None:
    calls = CallStats()

    first = calls.get_or_add(f"{SYNC}/Sync", CallKind.BIDI_STREAM)

    assert calls.get_or_add(f"{SYNC}/Sync", CallKind.BIDI_STREAM) is first
    assert (first.service, first.method) == ("constellation.v1.SyncService", "Sync")
