"""Assembly: turns the chunks of one pull, in any order and possibly repeated, into updates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.errors import InvalidInputError
from constellation.federated.fixed_point import (
    DAY_TYPES,
    SUM_ONE,
    TIMES_OF_DAY,
    WEIGHT_ONE,
)
from constellation.transport.codec.aggregates import (
    to_aggregate_header,
    to_aggregate_version,
    to_clusters,
    to_subject_counts,
)
from federation.merge.aggregates import ShardUpdate, concatenate_rows
from federation.merge.hourly_counts import HourlyCells
from federation.merge.terms import Terms, encode_genres
from federation.round_report import UnavailableShard
from federation.shards.likes_assembly import LikesAssembly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.federated.aggregate import AggregateVersion, ClusterRows, SubjectCounts
    from constellation.federated.fixed_point import ClusterSums
    from constellation.v1 import aggregates_pb2 as pb

_MAX_CLOCK_SKEW_HOURS: Final = 2
"""A shard's clock may be ahead of the federation's by this many hours."""
MAX_ANSWER_BYTES: Final = 2**30
"""The largest answer to one pull: enough for 300 shards of 1,000 clusters behind one relay."""
MAX_TERMS: Final = 2_000_000
"""The largest number of terms of one kind in one answer: as many as a shard can know."""
MAX_UNAVAILABLE: Final = 256
"""The largest number of addresses below a relay that an answer says did not answer."""
MAX_TEXT_LENGTH: Final = 256
"""The largest number of characters in the address of one of them, and in its problem."""
_ROUNDING_PER_DEVICE: Final = 2**22
"""The most that rounding may add to the sums of one device: half a unit in the factor of each
coordinate, for each of the device's patterns."""


class Assembly:
    """Collects and checks the chunks that one address sent in answer to one pull.

    Terms are numbered by the assembly's own `terms`, so that nothing of an answer that is refused
    remains in the federation's dictionaries.
    """

    def __init__(self, now_hour: int, *, include_likes: bool = False) -> None:
        """Create an empty assembly; `now_hour` is the current hour, in hours since 1970.

        `include_likes` says whether likes and pairs were requested.
        """
        self.size_bytes = 0
        """The bytes of all chunks so far."""
        self.terms = Terms.empty(MAX_TERMS)
        """The dictionaries that number the terms of this answer."""
        self.unavailable: list[UnavailableShard] = []
        """What is behind the address, a relay, and did not answer it."""
        self._latest_hour = now_hour + _MAX_CLOCK_SKEW_HOURS
        self._include_likes = include_likes
        self._shards: dict[AggregateVersion, _ShardChunks] = {}

    def add(self, chunk: pb.PullAggregateResponse) -> None:
        """Check and add one chunk. Raises InvalidInputError if no shard can have produced it."""
        self.size_bytes += chunk.ByteSize()
        if self.size_bytes > MAX_ANSWER_BYTES:
            raise InvalidInputError(
                "chunk",
                f"must be at most {MAX_ANSWER_BYTES} bytes in all, got {self.size_bytes} so far",
            )
        version = to_aggregate_version(chunk.version)
        shard = self._shards.setdefault(version, _ShardChunks(version))
        kind = chunk.WhichOneof("chunk")
        match kind:
            case "header":
                shard.header = chunk.header
                to_aggregate_header(chunk.header)
                self._add_unavailable(chunk.header.unavailable)
            case "clusters":
                shard.clusters.append(self._check_clusters(to_clusters(chunk.clusters, "clusters")))
            case "candidates":
                shard.candidates.append(
                    self._check_clusters(to_clusters(chunk.candidates, "candidates"))
                )
            case "hours":
                shard.hours.append(self._check_hours(to_subject_counts(chunk.hours)))
            case "likes" | "pairs":
                self._add_likes(shard, chunk)
            case None:
                raise InvalidInputError(
                    "chunk", "must be one of header, clusters, hours, candidates, likes, pairs"
                )

    def build_updates(self) -> list[tuple[ShardUpdate, int]]:
        """Return each shard's update and its age in seconds, ordered by shard_id.

        Raises InvalidInputError if a chunk is missing.
        """
        return [
            self._shards[version].build_update(include_likes=self._include_likes)
            for version in sorted(self._shards)
        ]

    def _add_unavailable(self, found: Sequence[pb.UnavailableShard]) -> None:
        if len(self.unavailable) + len(found) > MAX_UNAVAILABLE:
            raise InvalidInputError(
                "header.unavailable", f"must be at most {MAX_UNAVAILABLE} addresses in an answer"
            )
        for each in found:
            if max(len(each.address), len(each.problem)) > MAX_TEXT_LENGTH:
                raise InvalidInputError(
                    "header.unavailable", f"must have texts of at most {MAX_TEXT_LENGTH} characters"
                )
            shard = UnavailableShard(each.address, list(each.shard_ids), each.problem)
            if shard not in self.unavailable:  # the chunk may be repeated
                self.unavailable.append(shard)

    def _check_clusters(self, rows: ClusterRows) -> ClusterRows:
        """Return clusters with numbered terms. Raises InvalidInputError if they are impossible."""
        check_clusters(rows)
        try:
            return self.terms.intern_rows(rows)
        except ValueError as error:
            raise InvalidInputError("clusters", f"has an invalid term: {error}") from None

    def _check_hours(self, counts: SubjectCounts) -> HourlyCells:
        latest = int(counts.hours.max(initial=0))
        if latest > self._latest_hour:
            raise InvalidInputError(
                "hours.hours",
                f"must be at most {self._latest_hour}, got {latest}: is the shard's clock ahead?",
            )
        try:
            contents = self.terms.contents.intern(counts.content_ids)
            genres = self.terms.genres.intern(counts.genres)
        except ValueError as error:
            raise InvalidInputError("hours", f"has an invalid term: {error}") from None
        subjects = np.concatenate([contents, encode_genres(genres)])
        numbers = subjects[counts.subjects] if len(counts.subjects) else np.empty(0, np.int64)
        return HourlyCells(numbers, counts.hours.astype(np.int64), counts.devices.astype(np.int64))

    def _add_likes(self, shard: _ShardChunks, chunk: pb.PullAggregateResponse) -> None:
        if not self._include_likes:
            raise InvalidInputError("chunk", "has likes or pairs, which were not requested")
        if chunk.HasField("likes"):
            shard.likes.add_likes(chunk.likes, self.terms)
        else:
            shard.likes.add_pairs(chunk.pairs)


class _ShardChunks:
    """The chunks of one shard's aggregate in one answer."""

    def __init__(self, version: AggregateVersion) -> None:
        self.header: pb.AggregateHeader | None = None
        self.clusters: list[ClusterRows] = []
        self.candidates: list[ClusterRows] = []
        self.hours: list[HourlyCells] = []
        self.likes = LikesAssembly()
        self._version = version

    def build_update(self, *, include_likes: bool) -> tuple[ShardUpdate, int]:
        """Return the update and its age in seconds; raise InvalidInputError if rows are missing."""
        header, shard_id = self.header, self._version.shard_id
        if header is None:
            raise InvalidInputError("header", f"of shard {shard_id} is missing")
        clusters, candidates = _deduplicate_rows(self.clusters), _deduplicate_rows(self.candidates)
        hours = _deduplicate_cells(self.hours)
        for field, found, expected in (
            ("clusters", len(clusters), header.cluster_count),
            ("candidates", len(candidates), header.candidate_count),
            ("hours", len(hours.hours), header.hour_count),
        ):
            if found != expected:
                raise InvalidInputError(
                    field, f"of shard {shard_id} must be {expected} rows, got {found}"
                )
        if clusters.features.devices.max(initial=0) > header.devices:
            raise InvalidInputError(
                "clusters.devices", f"of shard {shard_id} must be at most {header.devices}"
            )
        update = ShardUpdate(
            self._version,
            to_aggregate_header(header),
            header.base_version,
            clusters,
            hours,
            candidates,
            self.likes.build(self._version, header) if include_likes else None,
        )
        return update, header.age_seconds


def check_clusters(rows: ClusterRows) -> None:
    """Raise InvalidInputError unless the sums of each cluster are consistent with each other."""
    features = rows.features
    problem = _find_contradiction(features)
    if problem is not None:
        field, row = problem
        raise InvalidInputError(
            f"clusters.{field}", f"of cluster {rows.cluster_ids[row]} contradicts its weight"
        )
    for terms in (rows.genres, rows.contents):
        if (terms.devices > features.devices[terms.rows]).any():
            raise InvalidInputError("clusters", "has a term with more devices than its cluster")


def _find_contradiction(features: ClusterSums) -> tuple[str, int] | None:
    """Return a column with an impossible value, and its row; None if all values are possible.

    A device has a weight of at most 1, the success is at most the weight, a sum of weighted unit
    vectors is not longer than its weight, and the weights by context add up to the weight.
    """
    weights = features.weights
    norms = np.linalg.norm(features.sums.astype(np.float64), axis=1)
    longest = weights * (SUM_ONE / WEIGHT_ONE) + features.devices * float(_ROUNDING_PER_DEVICE)
    contradictions: list[tuple[str, NDArray[np.bool_]]] = [
        ("weights", weights > features.devices.astype(np.float64) * WEIGHT_ONE),
        ("successes", features.successes > weights),
        ("sums", norms > longest),
        ("contexts", features.contexts.min(axis=1, initial=0) < 0),
    ]
    by_context = np.split(features.contexts, (TIMES_OF_DAY, TIMES_OF_DAY + DAY_TYPES), axis=1)
    contradictions += [("contexts", part.sum(axis=1) != weights) for part in by_context]
    for field, wrong in contradictions:
        if wrong.any():
            return field, int(np.argmax(wrong))
    return None


def _deduplicate_rows(parts: Sequence[ClusterRows]) -> ClusterRows:
    """Return the rows of all chunks, each cluster once, ordered by cluster_id.

    Of rows with the same cluster_id any may be used: they are from a repeated chunk.
    """
    rows = concatenate_rows(parts)
    distinct, first = np.unique(rows.cluster_ids, return_index=True)
    return rows if np.array_equal(distinct, rows.cluster_ids) else rows.select(first)


def _deduplicate_cells(parts: Sequence[HourlyCells]) -> HourlyCells:
    """Return the cells of all chunks, each (subject, hour) once."""
    empty = np.empty(0, np.int64)
    subjects = np.concatenate([empty, *(part.subjects for part in parts)])
    hours = np.concatenate([empty, *(part.hours for part in parts)])
    devices = np.concatenate([empty, *(part.devices for part in parts)])
    _, first = np.unique((subjects << 32) + hours, return_index=True)
    return HourlyCells(subjects[first], hours[first], devices[first])
