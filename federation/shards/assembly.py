"""Assembly: the chunks of one pull, in any order and repeated, to the updates they make up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from constellation.errors import InvalidInputError
from constellation.federated.fixed_point import (
    CONTEXTS,
    DAY_TYPES,
    SUM_ONE,
    TIMES_OF_DAY,
    WEIGHT_ONE,
)
from constellation.transport.codec.aggregates import (
    to_aggregate_version,
    to_clusters,
    to_shard_facts,
    to_subject_counts,
)
from federation.merge.cluster_sums import ShardUpdate, concatenate_rows, encode_genres
from federation.merge.hourly_counts import HourlyCells
from federation.merge.terms import TermDictionary, intern_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from constellation.federated.aggregate import AggregateVersion, ClusterRows, SubjectCounts
    from constellation.federated.fixed_point import ClusterSums
    from constellation.v1 import aggregates_pb2 as pb

_MAX_CLOCK_SKEW_HOURS: Final = 2
"""A shard's clock may be ahead so far."""
MAX_ANSWER_BYTES: Final = 2**30
"""Of one answer: 300 shards of 1,000 clusters behind one relay."""
MAX_TERMS: Final = 2_000_000
"""Texts of one kind in one answer: as many as a shard can know."""
_ROUNDING_PER_DEVICE: Final = 2**22
"""What rounding may add to the sums of one device: half a unit in each coordinate's factor, for
each of its patterns."""


class Assembly:
    """What one address sent in answer to one pull."""

    def __init__(self, now_hour: int) -> None:
        self.size_bytes = 0
        self._contents = TermDictionary(MAX_TERMS)
        self._genres = TermDictionary(MAX_TERMS)
        self._latest_hour = now_hour + _MAX_CLOCK_SKEW_HOURS
        self._shards: dict[AggregateVersion, _ShardChunks] = {}

    @property
    def terms(self) -> tuple[TermDictionary, TermDictionary]:
        """Contents and genres, as they are numbered here."""
        return self._contents, self._genres

    def add(self, chunk: pb.PullAggregateResponse) -> None:
        """Take one chunk. Raises InvalidInputError for one that no shard can have made."""
        self.size_bytes += chunk.ByteSize()
        if self.size_bytes > MAX_ANSWER_BYTES:
            raise InvalidInputError("chunk", f"must be at most {MAX_ANSWER_BYTES} bytes in all")
        version = to_aggregate_version(chunk.version)
        shard = self._shards.setdefault(version, _ShardChunks(version))
        kind = chunk.WhichOneof("chunk")
        match kind:
            case "header":
                shard.header = chunk.header
                to_shard_facts(chunk.header)
            case "clusters":
                shard.clusters.append(self._check_clusters(to_clusters(chunk.clusters, "clusters")))
            case "candidates":
                shard.candidates.append(
                    self._check_clusters(to_clusters(chunk.candidates, "candidates"))
                )
            case "hours":
                shard.hours.append(self._check_hours(to_subject_counts(chunk.hours)))
            case None:
                raise InvalidInputError(
                    "chunk", "must be one of header, clusters, hours, candidates"
                )

    def build_updates(self) -> list[tuple[ShardUpdate, int]]:
        """Return each shard's answer and its age in seconds, by shard.

        Words are numbers of this assembly's `names`: what is refused is not remembered.

        Raises InvalidInputError unless every chunk has come.
        """
        return [self._shards[version].build_update() for version in sorted(self._shards)]

    def _check_clusters(self, rows: ClusterRows) -> ClusterRows:
        """Return clusters with words as numbers; raise InvalidInputError for what cannot be."""
        check_clusters(rows)
        try:
            return intern_rows(rows, self._contents, self._genres)
        except ValueError as error:
            raise InvalidInputError("clusters", f"name a word that {error}") from None

    def _check_hours(self, counts: SubjectCounts) -> HourlyCells:
        latest = int(counts.hours.max(initial=0))
        if latest > self._latest_hour:
            raise InvalidInputError(
                "hours.hours",
                f"must be at most {self._latest_hour}, got {latest}: is the shard's clock ahead?",
            )
        try:
            contents = self._contents.intern(counts.content_ids)
            genres = self._genres.intern(counts.genres)
        except ValueError as error:
            raise InvalidInputError("hours", f"name a word that {error}") from None
        subjects = np.concatenate([contents, encode_genres(genres)])
        numbers = subjects[counts.subjects] if len(counts.subjects) else np.empty(0, np.int64)
        return HourlyCells(numbers, counts.hours.astype(np.int64), counts.devices.astype(np.int64))


class _ShardChunks:
    def __init__(self, version: AggregateVersion) -> None:
        self.header: pb.AggregateHeader | None = None
        self.clusters: list[ClusterRows] = []
        self.candidates: list[ClusterRows] = []
        self.hours: list[HourlyCells] = []
        self._version = version

    def build_update(self) -> tuple[ShardUpdate, int]:
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
            self._version, to_shard_facts(header), header.base_version, clusters, hours, candidates
        )
        return update, header.age_seconds


def check_clusters(rows: ClusterRows) -> None:
    """Raise InvalidInputError unless the sums of clusters agree with each other."""
    features = rows.features
    problem = _find_contradiction(features)
    if problem is not None:
        field, row = problem
        raise InvalidInputError(
            f"clusters.{field}", f"of cluster {rows.cluster_ids[row]} contradicts its weight"
        )
    for terms in (rows.genres, rows.contents):
        if (terms.devices > features.devices[terms.rows]).any():
            raise InvalidInputError("clusters", "name a word with more devices than the cluster")


def _find_contradiction(features: ClusterSums) -> tuple[str, int] | None:
    """Return a column that cannot be, and where.

    Every weight is at most 1 for a device, every success at most the weight, and a sum of weighted
    unit vectors no longer than the weights.
    """
    weights = features.weights
    norms = np.linalg.norm(features.sums.astype(np.float64), axis=1)
    longest = weights * (SUM_ONE / WEIGHT_ONE) + features.devices * float(_ROUNDING_PER_DEVICE)
    claims: list[tuple[str, NDArray[np.bool_]]] = [
        ("weights", weights > features.devices.astype(np.float64) * WEIGHT_ONE),
        ("successes", features.successes > weights),
        ("sums", norms > longest),
        ("contexts", features.contexts.min(axis=1, initial=0) < 0),
    ]
    parts = ((0, TIMES_OF_DAY), (TIMES_OF_DAY, TIMES_OF_DAY + DAY_TYPES))
    for start, end in (*parts, (TIMES_OF_DAY + DAY_TYPES, CONTEXTS)):
        claims.append(("contexts", features.contexts[:, start:end].sum(axis=1) != weights))
    for field, wrong in claims:
        if wrong.any():
            return field, int(np.argmax(wrong))
    return None


def _deduplicate_rows(parts: Sequence[ClusterRows]) -> ClusterRows:
    """Return the rows of all chunks, each once, by cluster_id: a repeated chunk says the same."""
    rows = concatenate_rows(parts)
    distinct, first = np.unique(rows.cluster_ids, return_index=True)
    return rows if np.array_equal(distinct, rows.cluster_ids) else rows.select(first)


def _deduplicate_cells(parts: Sequence[HourlyCells]) -> HourlyCells:
    """Return the counts of all chunks, each (subject, hour) once."""
    empty = np.empty(0, np.int64)
    subjects = np.concatenate([empty, *(part.subjects for part in parts)])
    hours = np.concatenate([empty, *(part.hours for part in parts)])
    devices = np.concatenate([empty, *(part.devices for part in parts)])
    _, first = np.unique((subjects << 32) + hours, return_index=True)
    return HourlyCells(subjects[first], hours[first], devices[first])
