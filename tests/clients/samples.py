"""Small catalogues, patterns, updates and a model of a shard, for the tests of the SDK."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from constellation.encoding import DIMENSION
from constellation.v1 import patterns_pb2
from constellation.v1 import sync_pb2 as pb
from constellation_settop import (
    Catalogue,
    Context,
    DayType,
    HistoryEntry,
    LearnedPattern,
    LocalChanges,
    Outbox,
    Pattern,
    Signal,
    TimeOfDay,
    View,
)
from constellation_settop.columns import from_patterns
from constellation_settop.network.outcome import SessionHooks
from constellation_settop.network.session import DeviceSession
from constellation_settop.related_columns import from_related_rows
from constellation_settop.values import Cluster, RelatedRow, SimilarPattern

EVENING = Context(TimeOfDay.EVENING, DayType.WEEKDAY)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def make_unit_rows(rows: int, seed: int = 1) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).standard_normal((rows, DIMENSION)).astype(np.float32)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    unit_vectors: NDArray[np.float32] = (values / norms).astype(np.float32)
    return unit_vectors


def make_catalogue(themes: int = 4, contents: int = 10) -> Catalogue:
    """Return content items "t-n": the n-th of theme t, near the embedding of the theme."""
    centres = np.repeat(make_unit_rows(themes, seed=7), contents, axis=0)
    embeddings = centres + 0.7 * make_unit_rows(themes * contents, seed=8)
    names = [f"{theme}-{number}" for theme in range(themes) for number in range(contents)]
    return Catalogue(
        names,
        embeddings.astype(np.float32),
        titles=[f"Film {name}" for name in names],
        genres=[(f"genre-{name[0]}",) for name in names],
    )


def make_pattern(number: int, success_rate: float = 1.0, sample_count: int = 1) -> Pattern:
    return Pattern(
        number.to_bytes(16, "little"), make_unit_rows(1, number)[0], success_rate, sample_count
    )


def make_cluster(
    number: int, centroid_id: str, content_ids: Sequence[str], devices: int = 50
) -> Cluster:
    """Return a cluster whose centroid is a content item of `make_catalogue`, with its genre."""
    contents = make_catalogue()
    centroid_row = contents.find_row(centroid_id)
    assert centroid_row is not None
    centroid = Pattern(
        number.to_bytes(16, "little"),
        contents.embedding(centroid_row),
        0.9,
        devices,
        genres=tuple(contents.genres(centroid_row)),
        content_ids=tuple(content_ids),
    )
    return Cluster(centroid, devices)


def make_learned_changes(
    *numbers: int, success_rate: float = 1.0, sample_count: int = 1
) -> LocalChanges:
    patterns = [make_pattern(number, success_rate, sample_count) for number in numbers]
    return LocalChanges([LearnedPattern(each) for each in patterns])


def make_history_changes(*content_ids: str, opinion: int = 64) -> LocalChanges:
    return LocalChanges(history=[HistoryEntry(each, opinion, 7) for each in content_ids])


def make_signal_changes(*content_ids: str) -> LocalChanges:
    return LocalChanges(signals=[Signal(content_id, 1) for content_id in content_ids])


@dataclass
class ShardModel:
    """A model of a shard: what it does with the deltas of one device. It outlives sessions."""

    max_inflight: int = 4
    patterns_per_delta: int = 64
    cursor: int | None = None
    """The last seq applied. None means no cursor, and only a snapshot can make one."""
    stored_patterns: dict[bytes, int] = field(default_factory=dict)
    """Pattern id to sample_count."""
    counted_signals: list[str] = field(default_factory=list)
    liked_ids: list[str] = field(default_factory=list)
    applied_seqs: list[int] = field(default_factory=list)
    catalogue_digest: int = 0
    history: list[tuple[int | None, dict[bytes, int]]] = field(default_factory=list)
    """The cursor and the patterns before each delta."""

    def make_welcome(self) -> pb.SyncResponse:
        return pb.SyncResponse(
            welcome=pb.Welcome(
                expected_seq=(self.cursor or 0) + 1,
                full_resync=self.cursor is None,
                max_inflight_deltas=self.max_inflight,
                max_patterns_per_delta=self.patterns_per_delta,
                quality_threshold=0.7,
                catalogue_digest=self.catalogue_digest,
            )
        )

    def apply_delta(self, delta: patterns_pb2.Delta) -> pb.SyncResponse:
        """Apply a delta if it is its turn, and return the ack."""
        if (delta.snapshot and delta.seq > (self.cursor or 0)) or (
            self.cursor is not None and delta.seq == self.cursor + 1
        ):
            self._store_delta(delta)
        cursor = self.cursor or 0
        ack = patterns_pb2.DeltaAck(
            through_seq=cursor, expected_seq=cursor + 1, full_resync=self.cursor is None
        )
        return pb.SyncResponse(delta_ack=ack)

    def _store_delta(self, delta: patterns_pb2.Delta) -> None:
        assert delta.seq not in self.applied_seqs
        self.history.append((self.cursor, dict(self.stored_patterns)))
        if delta.snapshot:
            self.stored_patterns.clear()
            self.liked_ids = list(delta.liked_content_ids)
        self.liked_ids = [
            each for each in self.liked_ids if each not in delta.withdrawn_content_ids
        ]
        for content_id in delta.signals.content_ids:
            self.liked_ids = [each for each in self.liked_ids if each != content_id] + [content_id]
        ids = delta.upserts.ids
        keys = [ids[start : start + 16] for start in range(0, len(ids), 16)]
        self.stored_patterns.update(zip(keys, delta.upserts.sample_counts, strict=True))
        for start in range(0, len(delta.removed_ids), 16):
            self.stored_patterns.pop(delta.removed_ids[start : start + 16], None)
        self.counted_signals += delta.signals.content_ids
        self.applied_seqs.append(delta.seq)
        self.cursor = delta.seq


def restore_backup(shard: ShardModel) -> None:
    """Undo the newest delta, like a shard that is restored from an older backup."""
    if shard.history:
        shard.cursor, shard.stored_patterns = shard.history.pop()
        shard.applied_seqs.pop()


def make_global_update(
    patterns: Sequence[Pattern], count_after: int, nonce: int = 1
) -> patterns_pb2.GlobalUpdate:
    return patterns_pb2.GlobalUpdate(
        nonce=nonce,
        version=patterns_pb2.GlobalVersion(generation=1, version=nonce),
        similar=from_patterns(patterns),
        similarities=[0.9] * len(patterns),
        similar_count=count_after,
    )


def make_clusters_update(
    clusters: Sequence[Cluster], count_after: int, *removed: int, nonce: int = 1
) -> patterns_pb2.GlobalUpdate:
    return patterns_pb2.GlobalUpdate(
        nonce=nonce,
        version=patterns_pb2.GlobalVersion(generation=1, version=nonce),
        clusters=from_patterns([cluster.pattern for cluster in clusters]),
        removed_cluster_ids=b"".join(number.to_bytes(16, "little") for number in removed),
        cluster_count=count_after,
    )


def to_cluster_id(number: int) -> bytes:
    return number.to_bytes(16, "little")


def read_delta(outbox: Outbox, seq: int) -> patterns_pb2.Delta:
    return patterns_pb2.Delta.FromString(outbox.read_delta(seq))


def receive_update(outbox: Outbox, update: patterns_pb2.GlobalUpdate) -> pb.GlobalAck:
    """Return how a device in a session answers a global update."""
    session = DeviceSession(outbox, Random(1), SessionHooks())  # noqa: S311  # no secret
    session.start(0.0)
    session.receive(ShardModel().make_welcome(), 0.0)
    session.receive(pb.SyncResponse(global_update=update), 0.0)
    (answer,) = [
        frame.global_ack for frame in session.take_frames(0) if frame.HasField("global_ack")
    ]
    return answer


def make_liked_view(content_id: str, at: float = 0, context: Context = EVENING) -> View:
    return View(content_id, 1.0, 0.9, at, context)


def make_disliked_view(content_id: str, at: float = 0) -> View:
    return View(content_id, 0.1, 0.0, at, EVENING)


def make_similar(name: int, content_ids: tuple[str, ...], catalogue: Catalogue) -> SimilarPattern:
    row = catalogue.find_row(content_ids[0])
    assert row is not None
    embedding = catalogue.embedding(row)
    return SimilarPattern(
        Pattern(bytes([name] * 16), embedding, 0.9, 5, content_ids=content_ids), 0.8
    )


def make_row_id(content_id: str, revision: int = 1) -> bytes:
    return sha256(content_id.encode()).digest()[:8] + revision.to_bytes(8, "little")


def make_related(
    content_id: str, neighbours: dict[str, int], shift: int = 7, revision: int = 1
) -> dict[bytes, RelatedRow]:
    """Return one row of related content by its id; the weights are in units of 2**-shift."""
    weights = np.array(list(neighbours.values()), np.int8).tobytes()
    row = RelatedRow(content_id, tuple(neighbours), weights, shift)
    return {make_row_id(content_id, revision): row}


def make_popular_update(region: str, content_ids: Sequence[str]) -> patterns_pb2.GlobalUpdate:
    """Return an update with one list, where each content item has one household less."""
    popular = patterns_pb2.PopularContents(
        id=sha256(region.encode()).digest()[:16],
        region=region,
        content_ids=content_ids,
        households=range(2 * len(content_ids), len(content_ids), -1),
    )
    version = patterns_pb2.GlobalVersion(generation=1, version=1)
    return patterns_pb2.GlobalUpdate(nonce=1, version=version, popular=[popular])


def make_related_update(
    rows: dict[bytes, RelatedRow], count_after: int, *removed: bytes, nonce: int = 1
) -> patterns_pb2.GlobalUpdate:
    return patterns_pb2.GlobalUpdate(
        nonce=nonce,
        version=patterns_pb2.GlobalVersion(generation=1, version=nonce),
        related=from_related_rows(rows),
        removed_related_ids=b"".join(removed),
        related_count=count_after,
    )


def send_and_acknowledge(outbox: Outbox, through_seq: int) -> None:
    for pending in outbox.pending_deltas:
        outbox.mark_sent(pending.seq)
    outbox.acknowledge(through_seq)
