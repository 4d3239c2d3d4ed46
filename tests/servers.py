"""Start real servers in their own processes: shards, and a fleet of two shards and a federation."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import IO, TYPE_CHECKING, Any

import grpc

from constellation.config import ShardConfig
from constellation.encoding import Encoding, encode
from constellation.placement import find_owner, format_map
from constellation.v1 import federation_pb2, patterns_pb2, shard_pb2
from constellation.v1.federation_pb2_grpc import FederationServiceStub
from constellation.v1.shard_pb2_grpc import ShardServiceStub
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from federation.config import FederationConfig
from testing.ports import find_free_address
from tests.deltas import PatternSpec, device_id, embedding
from tests.federation.fleet import HOUR, make_drama_device
from tests.scenarios.processes import COMMAND_DIR, CommandResult
from tests.sync_client import make_delta_message, make_push

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

ANY_PORT = "127.0.0.1:0"
DEADLINE_SECONDS = 20
TITLES = {
    "film:1": "Solaris",
    "film:1b": "Stalker",
    "film:2": "Playtime",
    "film:2b": "Mon Oncle",
    "film:3": "Ran [1985 cut]",
}
"""Titles by content id. One looks like rich's markup, which output must escape."""
YEAR = 1972
_DEVICE_COUNT = 24


@dataclass(frozen=True)
class RunningFleet:
    """The addresses and the devices of a running fleet."""

    shard_addresses: Sequence[str]
    federation_address: str
    device_ids: Sequence[Sequence[bytes]]
    """The device ids of each shard, in the order of `shard_addresses`."""

    @property
    def shard_list(self) -> str:
        return ",".join(self.shard_addresses)


def make_clean_environment() -> dict[str, str]:
    """Return this process's environment without any setting of either program but two.

    These let everybody in, and let every device count for others at once.
    """
    setting_names = {
        each.name.upper() for kind in (ShardConfig, FederationConfig) for each in fields(kind)
    }
    kept = {name: value for name, value in os.environ.items() if name not in setting_names}
    return {**kept, "INSECURE": "1", "MIN_DEVICE_AGE_DAYS": "0"}


@contextmanager
def run_server(
    *command: str, ready_event: str, **settings: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it is ready once its log has the event `ready_event`."""
    chosen = {name.upper(): str(value) for name, value in settings.items()}
    side_addresses = {"REST_ADDR": ANY_PORT, "METRICS_ADDR": ANY_PORT}
    with subprocess.Popen(
        [COMMAND_DIR / command[0], *command[1:]],
        env={**make_clean_environment(), **side_addresses, **chosen},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        try:
            _wait_for_event(process.stderr, ready_event)
            rest = threading.Thread(target=process.stderr.read, daemon=True)
            rest.start()  # without a reader, the server blocks once the pipe is full
            yield process
            process.kill()
            rest.join(DEADLINE_SECONDS)
        finally:
            process.kill()


def run_subprocess(*command: str, **settings: object) -> CommandResult:
    """Run a command to its end in its own process, because it sets up logs."""
    chosen = {name.upper(): str(value) for name, value in settings.items()}
    finished = subprocess.run(
        [COMMAND_DIR / command[0], *command[1:]],
        env={**make_clean_environment(), **chosen},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=DEADLINE_SECONDS,
    )
    return CommandResult(finished.returncode, finished.stdout, finished.stderr)


@contextmanager
def run_shard_server(address: str, **settings: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run one shard until the block ends."""
    defaults = {
        "drain_seconds": 0,
        "k_anonymity": 2,
        "global_interval_seconds": 3600,
        "shared_patterns_seconds": 0.2,
    }
    with run_server(
        "constellation",
        "serve",
        ready_event="shard_started",
        grpc_addr=address,
        **defaults | settings,
    ) as process:
        yield process


@contextmanager
def run_fleet(
    folder: Path, *, titles: Mapping[str, str] = TITLES, region_suffix: str = ""
) -> Iterator[RunningFleet]:
    """Run two shards with devices, and a federation that has published a round of them."""
    shard_map = {0: find_free_address(), 1: find_free_address()}
    federation_address = find_free_address()
    with ExitStack() as stack:
        for shard_id, region in enumerate(("north", "south")):
            settings = {"shard_id": shard_id, "data_dir": folder / region}
            shard_settings = {
                "shard_map": format_map(shard_map),
                "region": region + region_suffix,
                **settings,
            }
            stack.enter_context(run_shard_server(shard_map[shard_id], **shard_settings))
        settings = {"shard_addrs": ",".join(shard_map.values()), "data_dir": folder / "above"}
        stack.enter_context(
            run_server(
                "federation",
                "run",
                ready_event="federation_active",
                **{"grpc_addr": federation_address, **settings, **_FEDERATION_SETTINGS},
            )
        )
        devices = [_push_devices(shard_id, shard_map, titles) for shard_id in shard_map]
        _run_round(federation_address)
        yield RunningFleet(list(shard_map.values()), federation_address, devices)


_FEDERATION_SETTINGS: dict[str, object] = {
    "federation_interval_secs": 0,
    "min_shards": 2,
    "global_k_anonymity": 2,
    "candidate_devices": 2,
    "trend_floor": 1,
    "trend_surprise": 0,
    "catch_up_seconds": 1e9,
}


def make_content_message(content_id: str, title: str, direction: int) -> shard_pb2.Content:
    return shard_pb2.Content(
        content_id=content_id,
        title=title,
        content_type=patterns_pb2.CONTENT_TYPE_MOVIE,
        genres=["Drama"],
        year=YEAR,
        encoding=patterns_pb2.ENCODING_INT8,
        embedding=encode(embedding(direction)[None], Encoding.INT8),
    )


def _push_devices(
    shard_id: int, shard_map: dict[int, str], titles: Mapping[str, str]
) -> list[bytes]:
    """Fill the shard's catalogue, push the deltas of its own devices, and return their ids."""
    own = [
        number
        for number in range(_DEVICE_COUNT)
        if find_owner(device_id(number), shard_map) == shard_id
    ]
    with grpc.insecure_channel(shard_map[shard_id]) as channel:
        shard: Any = ShardServiceStub(channel)
        contents = [
            make_content_message(key, titles[key], direction)
            for direction, key in enumerate(sorted(titles))
        ]
        shard.AddContent(shard_pb2.AddContentRequest(contents=contents), timeout=DEADLINE_SECONDS)
        sync: Any = SyncServiceStub(channel)
        for number in own:
            sample = make_drama_device(number, 1 + number % 2)
            own_pattern = PatternSpec(
                1, 100 + number, 0.9, 4, genres=("Comedy",), contents=("film:3",)
            )
            signals = [*sample.signals, (sample.signals[0][0], HOUR)]
            sent = make_delta_message(
                1, [*sample.patterns, own_pattern], snapshot=True, signals=signals
            )
            sync.Exchange(make_push(number, sent), timeout=DEADLINE_SECONDS)
    return [device_id(number) for number in own]


def _run_round(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        federation: Any = FederationServiceStub(channel)
        response = federation.RunRound(federation_pb2.RunRoundRequest(), timeout=DEADLINE_SECONDS)
    assert response.round.state == federation_pb2.ROUND_STATE_PUBLISHED
    assert response.round.cluster_count
    assert response.round.trend_count


def _wait_for_event(log: IO[bytes], event: str) -> None:
    lines = []
    for line in log:
        lines.append(line)
        if line.startswith(b"{") and json.loads(line)["event"] == event:
            return
    raise AssertionError(f"the server did not log {event}: {b''.join(lines).decode()}")
