"""The decoders that are fuzzed, each with valid inputs and the errors that it may raise."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from google.protobuf.message import DecodeError

from constellation.archive.importer import ArchiveImporter
from constellation.archive.lines import parse_line
from constellation.auth.principal import Role
from constellation.cli.errors import CommandError
from constellation.core.ingest.content_budget import ContentBudget
from constellation.core.ingest.decode import decode_patterns
from constellation.core.rules import Rules
from constellation.core.table.shard_table import Table
from constellation.errors import InvalidInputError, UnauthenticatedError
from constellation.federated.likes import DictionaryKey, LikeAggregate
from constellation.transport.codec.aggregates import from_aggregate_update
from constellation.transport.codec.global_state import to_global
from constellation.transport.codec.patterns import to_delta
from constellation.transport.sync.declarations import negotiate_format, to_held_state
from constellation.v1 import aggregates_pb2, patterns_pb2, sync_pb2
from constellation_settop import StorageError
from constellation_settop.columns import MalformedUpdateError, apply_update
from constellation_settop.values import GlobalState
from federation.shards.assembly import Assembly
from tests.auth.callers import Keys, make_verifier
from tests.clients.samples import (
    make_cluster,
    make_clusters_update,
    make_global_update,
    make_pattern,
)
from tests.deltas import PatternSpec, device_id, embedding
from tests.federation.aggregates import make_cluster_rows, make_update
from tests.federation.liked import count_likes, count_pairs, make_households
from tests.fuzz.corpus import read_corpus
from tests.fuzz.device_sessions import (
    DEVICE_REFUSALS,
    make_device_sessions,
    run_device_session,
)
from tests.fuzz.files import (
    CatalogueFile,
    RefusedError,
    SnapshotFile,
    make_catalogue_lines,
    read_catalogue_lines,
)
from tests.fuzz.rest_requests import RefusedRequestError, RestRequests, make_requests
from tests.fuzz.shard_sessions import SESSION_REFUSALS, ShardSessions, make_sessions
from tests.sync_client import make_delta_message, make_hello, to_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from google.protobuf.message import Message

    from constellation.auth.tokens import TokenVerifier

_HOUR: Final = int(time.time()) // 3600
_SPECS: Final = (
    PatternSpec(1, 1, genres=("Drama", "Crime"), contents=("film:1", "film:2")),
    PatternSpec(2, 2, success_rate=0.1),
)


@dataclass(frozen=True)
class Target:
    """One decoder."""

    name: str
    seeds: Sequence[bytes]
    """Valid inputs."""
    run: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    """What it may raise."""

    @cached_property
    def corpus(self) -> Sequence[bytes]:
        """Further inputs, taken or refused, which reach what the valid ones do not."""
        return read_corpus(self.name)


@contextmanager
def open_targets(folder: Path) -> Iterator[list[Target]]:
    """Open all targets; `folder` gets what they need on disk."""
    keys = Keys.make(folder)
    verifier = make_verifier(keys.path)
    tokens = [keys.issue(Role.DEVICE), keys.issue(Role.OPERATOR, Role.VIEWER)]
    snapshot = SnapshotFile(folder / "snapshots")
    catalogue = CatalogueFile(folder)
    with ShardSessions.open(verifier) as sessions, RestRequests.open() as rest:
        yield [
            *_make_decoders(verifier, tokens),
            Target("session of a shard", make_sessions(tokens), sessions.run, SESSION_REFUSALS),
            Target(
                "session of a device", make_device_sessions(), run_device_session, DEVICE_REFUSALS
            ),
            Target("request over REST", make_requests(), rest.run, (RefusedRequestError,)),
            Target("index snapshot", [snapshot.sound], snapshot.read, (RefusedError,)),
            Target("catalogue of a device", [catalogue.sound], catalogue.read, (StorageError,)),
            Target(
                "catalogue of a feeder",
                make_catalogue_lines(),
                read_catalogue_lines,
                (CommandError,),
            ),
        ]


def _make_decoders(verifier: TokenVerifier, tokens: Sequence[str]) -> list[Target]:
    return [
        Target(
            "frame of a device", _make_frames(), _decode_frame, (DecodeError, InvalidInputError)
        ),
        Target("global state", [_make_global()], to_global, (InvalidInputError,)),
        Target("aggregate", _make_aggregates(), _assemble, (DecodeError, InvalidInputError)),
        Target(
            "update of a device",
            _make_updates(),
            _update_device,
            (DecodeError, MalformedUpdateError),
        ),
        Target("line of an archive", _make_lines(), _import_line, (InvalidInputError,)),
        Target(
            "token",
            [each.encode() for each in tokens],
            lambda data: verifier.verify(data.decode("utf-8", "surrogateescape")),
            (UnauthenticatedError,),
        ),
    ]


def _serialize(*messages: Message) -> list[bytes]:
    return [message.SerializeToString() for message in messages]


def _make_frames() -> list[bytes]:
    hello = make_hello(1)
    hello.held_similar_ids = bytes(32)
    signals = [("film:1", _HOUR), ("film:9", _HOUR - 1)]
    return _serialize(
        sync_pb2.SyncRequest(hello=hello),
        sync_pb2.SyncRequest(delta=make_delta_message(1, list(_SPECS), signals=signals)),
        sync_pb2.SyncRequest(delta=make_delta_message(2, [PatternSpec(3)])),
    )


def _decode_frame(data: bytes) -> None:
    """Decode a frame as a session does, and its patterns as a commit does."""
    frame = sync_pb2.SyncRequest.FromString(data)
    if frame.HasField("hello"):
        negotiate_format(frame.hello, 100)
        to_held_state(frame.hello)
    if frame.HasField("delta"):
        delta = to_delta(device_id(1), 1, frame.delta, 64)
        if delta.upserts is not None:
            budget = ContentBudget(_TABLE, np.array([-1]), _HOUR, 256)
            decode_patterns([delta.upserts], [0], budget, 0.7)


_TABLE: Final = Table(Rules(max_devices=4, max_patterns=64))


def _make_global() -> bytes:
    anchors = np.stack([embedding(1), embedding(2)]).astype("<f4")
    codebook = aggregates_pb2.Codebook(version=1, cluster_ids=[1, 2], anchors=anchors.tobytes())
    rising = patterns_pb2.TREND_DIRECTION_RISING
    trends = [patterns_pb2.Trend(content_id="film:1", score=2.0, direction=rising)]
    return aggregates_pb2.Global(
        generation=5,
        round_id=2,
        closed_at=9,
        codebook=codebook,
        clusters=aggregates_pb2.GlobalClusters(patterns=to_columns(list(_SPECS))),
        trends=trends,
    ).SerializeToString()


_SEPARATOR: Final = b"\xf0CHUNK\xf0"


def _make_aggregates() -> list[bytes]:
    """Return an answer to a pull: its chunks, one after the other, with likes and pairs."""
    rows = make_cluster_rows([1, 2], [5, 6], [{"film:1": 5}, {"film:2": 5}])
    households = make_households(9, seed=1, contents=6)
    likes = count_likes(households)
    update = replace(
        make_update(0, rows, {("film:1", _HOUR): 5}),
        likes=LikeAggregate(
            len(households), likes, count_pairs(households, likes.content_ids), DictionaryKey(1, 1)
        ),
    )
    return [_SEPARATOR.join(_serialize(*from_aggregate_update(update)))]


def _assemble(data: bytes) -> None:
    assembly = Assembly(_HOUR, include_likes=True)
    for chunk in data.split(_SEPARATOR):
        assembly.add(aggregates_pb2.PullAggregateResponse.FromString(chunk))
    assembly.build_updates()


def _make_updates() -> list[bytes]:
    cluster = make_cluster(1, "0-0", ["0-1"], devices=60)
    return _serialize(
        make_global_update([make_pattern(1), make_pattern(2)], 2),
        make_clusters_update([cluster], 1),
    )


def _update_device(data: bytes) -> None:
    apply_update(GlobalState(), patterns_pb2.GlobalUpdate.FromString(data))


def _make_lines() -> list[bytes]:
    embedding_text = "AQ" + "EB" * 255
    pattern = {
        "pattern_id": "00" * 16, "success_rate": 0.9, "sample_count": 3, "created_at": 1,
        "updated_at": 2, "time_of_day": 1, "day_type": 1, "content_type": 1, "genres": ["Drama"],
        "content_ids": ["film:1"], "embedding": embedding_text,
    }  # fmt: skip
    device = {
        "device_id": "01" * 16, "incarnation": 1, "seq": 1, "synced_at": 1, "signal_hour": _HOUR,
        "signal_content_ids": ["film:1"], "patterns": [pattern],
    }  # fmt: skip
    content = {
        "content_id": "film:1", "title": "Solaris", "content_type": 1, "genres": ["Drama"],
        "year": 1972, "embedding": embedding_text,
    }  # fmt: skip
    count = {"hour": _HOUR, "content_id": "film:1", "devices": 5}
    lines = ({"device": device}, {"content": content}, {"count": count})
    return [json.dumps(line).encode() for line in lines]


def _import_line(data: bytes) -> None:
    kind, line = parse_line(data, 1)
    ArchiveImporter().prepare(kind, [line])
