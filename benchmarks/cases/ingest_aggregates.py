"""Durable syncs per second of a shard with aggregates for a federation, and of one without."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
import numpy as np

from benchmarks.delta_runs import SETTINGS, compare_syncs, run_delta_load
from benchmarks.published_global import make_publish_requests
from benchmarks.shard_process import make_folder, start_shard
from constellation.encoding import normalise_codes
from constellation.v1 import (
    aggregates_pb2,
    aggregates_pb2_grpc,
    patterns_pb2,
    shard_pb2,
    shard_pb2_grpc,
)
from testing.patterns import sample_patterns

if TYPE_CHECKING:
    from benchmarks.delta_load import DeltaLoadResult
    from benchmarks.report import Measurement

_ANCHORS: Final = 512
_ROUNDS: Final = 3
_PATIENCE_SECONDS: Final = 10.0


def measure() -> list[Measurement]:
    """Compare a shard that has a codebook with one that has none."""
    return [
        compare_syncs(
            "ingest_with_aggregates_vs_without",
            "the same without a codebook",
            _ROUNDS,
            (partial(_measure_side, _ANCHORS), partial(_measure_side, 0)),
        )
    ]


def _measure_side(anchors: int) -> DeltaLoadResult:
    with make_folder() as data_dir, start_shard(data_dir=data_dir, **SETTINGS) as started:
        if anchors:
            _publish_codebook(started.port, anchors)
        return run_delta_load(started.server)


def _publish_codebook(port: int, anchors: int) -> None:
    """Publish a global with a codebook and nothing else; return once the shard uses it."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        aggregates: Any = aggregates_pb2_grpc.AggregateServiceStub(channel)
        stats: Any = shard_pb2_grpc.ShardServiceStub(channel)
        assert aggregates.PublishGlobal(make_publish_requests(_make_codebook(anchors))).applied
        until = time.monotonic() + _PATIENCE_SECONDS
        while stats.GetStats(shard_pb2.GetStatsRequest()).codebook_version != 1:
            assert time.monotonic() < until, "the shard does not use its codebook"
            time.sleep(0.05)


def _make_codebook(anchors: int) -> aggregates_pb2.Global:
    return aggregates_pb2.Global(
        generation=1,
        round_id=1,
        closed_at=int(time.time()),
        codebook=aggregates_pb2.Codebook(
            version=1,
            cluster_ids=np.arange(1, anchors + 1).tolist(),
            anchors=normalise_codes(sample_patterns(anchors, seed=13)).astype("<f4").tobytes(),
        ),
        clusters=_make_empty_clusters(),
    )


def _make_empty_clusters() -> aggregates_pb2.GlobalClusters:
    columns = aggregates_pb2.GlobalClusters()
    columns.patterns.encoding = patterns_pb2.ENCODING_INT8
    return columns
