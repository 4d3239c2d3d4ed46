"""The rules of the stream without a socket: any order of frames, one outcome."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.core.ingest.cursors import Cursor
from constellation.core.ingest.deltas import Verdict
from constellation.transport.calls.counters import CallStats
from constellation.transport.sync.greeting import Greeter
from constellation.transport.sync.limits import SessionLimits
from constellation.transport.sync.service import SyncServicer
from constellation.transport.sync.session import DeviceSession
from constellation.transport.sync.streams import OpenStreams
from constellation.transport.sync.updates import UpdateEncoder
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import sync_pb2 as pb
from tests.deltas import PatternSpec, device_id
from tests.sync_client import make_delta_message, make_hello, make_push
from tests.transport.sync.sessions import WrittenFrames, open_manager

if TYPE_CHECKING:
    from constellation.core.shard import ShardManager

PATTERNS = 4
DEVICES = 2
BARRIER = 99
"""A device that only marks the end of what was sent before."""


@dataclass
class SimulatedDevice:
    """One device: its deltas, and what the shard has acked."""

    number: int
    incarnation: int = 0
    deltas: list[patterns.Delta] = field(default_factory=list)
    """Delta `seq` is at `seq - 1`; never changed, as if it were in an outbox."""
    acked_seq: int = 0
    needs_resync: bool = False

    def get_delta(self, seq: int) -> patterns.Delta:
        """Return a delta, after making all up to it."""
        while len(self.deltas) < seq:
            self.make_next_delta(snapshot=False)
        return self.deltas[seq - 1]

    def make_next_delta(self, *, snapshot: bool) -> int:
        """Make the next delta; return its seq."""
        seq = len(self.deltas) + 1
        count = self.incarnation * 1000 + seq
        if snapshot:
            changed = [PatternSpec(number, sample_count=count) for number in range(PATTERNS)]
        else:
            changed = [PatternSpec(seq % PATTERNS, sample_count=count)] if seq % 5 else []
        removed = [] if snapshot or seq % 5 else [seq % PATTERNS]
        self.deltas.append(make_delta_message(seq, changed, removed, snapshot=snapshot))
        return seq

    def apply_ack(self, ack: patterns.DeltaAck) -> None:
        self.needs_resync = ack.full_resync
        if not ack.full_resync:
            self.acked_seq = max(self.acked_seq, ack.through_seq)


def fold_deltas(deltas: list[patterns.Delta]) -> dict[bytes, int]:
    """Return the sample counts by pattern id once these deltas are applied in order."""
    state: dict[bytes, int] = {}
    for delta in deltas:
        if delta.snapshot:
            state = {}
        ids = delta.upserts.ids
        for at, count in enumerate(delta.upserts.sample_counts):
            state[ids[16 * at : 16 * at + 16]] = count
        for at in range(0, len(delta.removed_ids), 16):
            state.pop(delta.removed_ids[at : at + 16], None)
    return state


class World:
    """Some devices and a shard; checks after every commit what must hold."""

    def __init__(self, manager: ShardManager) -> None:
        limits = SessionLimits(max_inflight_deltas=1000)
        self.manager = manager
        self.streams = OpenStreams(manager.stats, limits)
        self.unary = SyncServicer(
            manager, limits, self.streams, CallStats(), UpdateEncoder(manager)
        )
        self.greeter = Greeter(manager, limits, self.streams.guard)
        self.devices = [SimulatedDevice(number) for number in range(DEVICES)]
        self.sessions: dict[int, DeviceSession] = {}
        self.written_frames: dict[int, WrittenFrames] = {}
        self.calls: list[tuple[SimulatedDevice, int, asyncio.Task[bytes]]] = []
        self.lives: dict[tuple[int, int], list[patterns.Delta]] = {}
        """Everything made, by device and incarnation."""
        self.sent: set[tuple[int, int, int]] = set()
        self.barriers = 0

    def reset(self, device: SimulatedDevice) -> None:
        """Give a device a new life, as a factory reset does."""
        device.incarnation += 1
        device.deltas, device.acked_seq = [], 0
        self.lives[device.number, device.incarnation] = device.deltas
        self.connect(device)

    def connect(self, device: SimulatedDevice) -> None:
        """Open a new stream; the device's older one is superseded."""
        written = WrittenFrames()
        session = DeviceSession(self.greeter, self.streams, written.outgoing, 0.0)
        said = make_hello(
            device.number, incarnation=device.incarnation, last_acked_seq=device.acked_seq
        )
        session.receive(pb.SyncRequest(hello=said), 0.0)
        self.sessions[device.number], self.written_frames[device.number] = session, written
        (first, *_) = written.take_frames()
        assert first.welcome.expected_seq > device.acked_seq
        assert (
            first.welcome.expected_seq - 1 <= self.get_durable_seq(device)
            or first.welcome.full_resync
        )
        device.needs_resync = first.welcome.full_resync

    def send(self, device: SimulatedDevice, seq: int) -> None:
        delta = device.get_delta(seq)
        self.sent.add((device.number, device.incarnation, seq))
        self.sessions[device.number].receive(pb.SyncRequest(delta=delta), 0.0)

    async def push_unary(self, device: SimulatedDevice, seq: int) -> None:
        """Send a delta without the stream; its answer is read later."""
        self.sent.add((device.number, device.incarnation, seq))
        request = self.make_request(device.number, device.incarnation, device.get_delta(seq))
        call = asyncio.create_task(self.unary.Exchange(request, None))
        self.calls.append((device, device.incarnation, call))
        await asyncio.sleep(0)  # it is in the inbox now, and the committer may have begun

    async def settle(self) -> None:
        """Let everything sent become durable, and check the answers and the store."""
        self.barriers += 1
        request = self.make_request(BARRIER, 1, make_delta_message(self.barriers))
        await self.unary.Exchange(request, None)
        for device in self.devices:
            self._read_frames(device)
        for device, incarnation, call in self.calls:
            ack = pb.ExchangeResponse.FromString(await call).ack
            if incarnation == device.incarnation:
                assert ack.through_seq <= self.get_durable_seq(device)
                device.apply_ack(ack)
        self.calls = []
        await self._compare()

    async def finish(self, device: SimulatedDevice) -> None:
        """Follow the protocol on the stream that is open: everything must get through."""
        for _ in range(6):
            if device.needs_resync:
                device.make_next_delta(snapshot=True)
                self.send(device, len(device.deltas))
            else:
                for seq in range(device.acked_seq + 1, len(device.deltas) + 1):
                    self.send(device, seq)
            await self.settle()
            if device.acked_seq == len(device.deltas):
                return
        raise AssertionError(f"stuck at {device.acked_seq} of {len(device.deltas)}")

    def get_durable_seq(self, device: SimulatedDevice) -> int:
        """Return the last delta of a device's present life that is stored."""
        cursor = self.manager.find_cursor(device_id(device.number)) or Cursor(0, 0)
        return cursor.seq if cursor.incarnation == device.incarnation else 0

    def read_stored(self, device: SimulatedDevice) -> dict[bytes, int]:
        table = self.manager.table
        slot = table.find_device(device_id(device.number))
        rows = table.patterns[table.find_patterns(np.array([slot], np.int64)).slots]
        return {row["pattern_id"].tobytes(): int(row["sample_count"]) for row in rows}

    def make_request(self, number: int, incarnation: int, delta: patterns.Delta) -> Any:
        return make_push(number, delta, incarnation=incarnation)

    def _read_frames(self, device: SimulatedDevice) -> None:
        for frame in self.written_frames[device.number].take_frames():
            if frame.WhichOneof("frame") == "delta_ack":
                ack = frame.delta_ack
                assert ack.through_seq <= self.get_durable_seq(device)
                assert ack.through_seq < ack.expected_seq <= len(device.deltas) + 1
                device.apply_ack(ack)

    async def _compare(self) -> None:
        for device in self.devices:
            cursor = self.manager.find_cursor(device_id(device.number))
            if cursor is not None:
                made = self.lives[device.number, cursor.incarnation]
                assert self.read_stored(device) == fold_deltas(made[: cursor.seq])
        assert self.manager.stats.deltas[Verdict.APPLIED] <= len(self.sent) + self.barriers
        assert await self.manager.store.read_totals() == self.manager.table.totals


Step = tuple[str, int, int]

STEPS = st.tuples(
    st.sampled_from(["send", "send", "call", "snapshot", "connect", "reset", "settle"]),
    st.integers(0, DEVICES - 1),
    st.integers(-4, 2),
)
"""What happens, to which device, and how far from the newest delta: 1 is the next one."""


async def take_step(world: World, step: Step) -> None:
    kind, number, shift = step
    device = world.devices[number]
    seq = max(1, len(device.deltas) + shift)
    match kind:
        case "send":
            world.send(device, seq)
        case "call":
            await world.push_unary(device, seq)
        case "snapshot":
            world.send(device, device.make_next_delta(snapshot=True))
        case "connect":
            world.connect(device)
        case "reset":
            world.reset(device)
        case _:
            await world.settle()


async def run_steps(steps: list[Step]) -> None:
    async with open_manager() as manager:
        world = World(manager)
        for device in world.devices:
            world.reset(device)
        for step in steps:
            await take_step(world, step)
        await world.settle()
        for device in world.devices:
            await world.finish(device)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(STEPS, max_size=40))
def test_every_delta_applies_once_in_order_and_no_ack_is_ahead_of_the_store(
    steps: list[Step],
) -> None:
    asyncio.run(run_steps(steps))


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([("call", 0, 1)] * 3 + [("settle", 0, 0)], id="calls beside an idle stream"),
        pytest.param(
            [("call", 0, 1)] * 3 + [("settle", 0, 0), ("send", 0, -2)], id="a replay after calls"
        ),
        pytest.param(
            [("send", 0, 1)] * 9 + [("reset", 0, 0), ("call", 0, 1)], id="a call after a reset"
        ),
    ],
)
async def test_a_device_that_mixes_calls_and_its_stream_gets_through(steps: list[Step]) -> None:
    await run_steps([*steps, ("send", 0, 1)])


async def test_bye_waits_for_the_acks_of_what_is_in_flight() -> None:
    async with open_manager() as manager:
        world = World(manager)
        device = world.devices[0]
        world.reset(device)
        world.send(device, 1)
        session = world.sessions[0]

        session.receive(pb.SyncRequest(bye=pb.Bye()), 0.0)
        early = world.written_frames[0].take_frames()
        await world.unary.Exchange(world.make_request(BARRIER, 1, make_delta_message(1)), None)
        late = world.written_frames[0].take_frames()

        assert early == []
        assert [frame.WhichOneof("frame") for frame in late] == ["delta_ack", "bye"]
        assert late[0].delta_ack.through_seq == 1
