"""ShardService: one shard's servicer for operators and catalogue feeders."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import structlog

from constellation.auth.principal import CALLER, Role
from constellation.core.ingest.deltas import Verdict
from constellation.encoding import DIMENSION, Encoding, normalise_codes
from constellation.errors import InvalidInputError, NotFoundError
from constellation.placement import map_version
from constellation.resources import read_resident_bytes
from constellation.transport.codec.embeddings import decode_embeddings
from constellation.transport.codec.patterns import (
    check_content_id,
    check_device_id,
    from_content,
    from_similar_patterns,
    from_version,
    to_content,
)
from constellation.transport.codec.times import to_seconds, to_timestamp
from constellation.transport.services.inspection import Inspection
from constellation.v1 import shard_pb2 as pb
from constellation.v1 import shard_pb2_grpc
from constellation.wall_clock import read_clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from constellation.core.index.similar import SimilarPatterns
    from constellation.core.shard import ShardManager
    from constellation.transport.sync.streams import OpenStreams

log = structlog.get_logger(__name__)

_MAX_CONTENTS: Final = 256
_PAGE_SIZE: Final = 100
_MAX_CONTENT_PAGE_SIZE: Final = 250
"""The most content items of one answer: encoding more would hold the event loop for too long."""
_SEARCH_LIMIT: Final = 100
_MAX_SEARCH_LIMIT: Final = 500
_MAX_QUERIES: Final = 64
_MAX_REASON_BYTES: Final = 256
_MAX_SPREAD_SECONDS: Final = 3600
"""The longest time over which a drain may be spread."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What the shard's servicer needs from the process around the shard."""

    version: str
    started_at: float
    """Seconds since 1970."""
    request_drain: Callable[[float | None], None]
    """Begins a drain, spread over this many seconds; None means DRAIN_SECONDS."""


class ShardServicer(shard_pb2_grpc.ShardServiceServicer):
    """Serves ShardService to operators and catalogue feeders."""

    def __init__(self, shard: ShardManager, streams: OpenStreams, process: ProcessInfo) -> None:
        self._shard = shard
        self._streams = streams
        self._process = process
        self._inspection = Inspection(shard, streams)

    async def GetInfo(self, request: pb.GetInfoRequest, context: Any) -> pb.GetInfoResponse:
        shard = self._shard
        return pb.GetInfoResponse(
            shard_id=shard.identity.shard_id,
            region=shard.identity.region,
            version=self._process.version,
            epoch=shard.epoch,
            store=shard.store.kind,
            dimension=DIMENSION,
            max_devices=shard.rules.max_devices,
            quality_threshold=shard.rules.quality_threshold,
            share_threshold=shard.rules.share_threshold,
            k_anonymity=shard.rules.k_anonymity,
            started_at=to_timestamp(self._process.started_at),
        )

    async def GetStats(self, request: pb.GetStatsRequest, context: Any) -> pb.GetStatsResponse:
        shard, stats = self._shard, self._shard.stats
        applied = stats.deltas[Verdict.APPLIED]
        published = shard.global_state.published
        latency = stats.latency(asyncio.get_running_loop().time())
        active = await asyncio.to_thread(
            shard.count_active_devices, self._streams.device_ids(), read_clock()
        )
        response = pb.GetStatsResponse(
            total_devices=shard.table.totals.devices,
            active_devices=active,
            streams=len(self._streams),
            patterns=shard.table.totals.patterns,
            index_patterns=len(shard.index),
            contents=shard.catalogue.count,
            syncs_per_minute=latency.count if latency else 0,
            sync_latency_mean_seconds=latency.mean_seconds if latency else None,
            sync_latency_p99_seconds=latency.p99_seconds if latency else None,
            commits=stats.commits,
            deltas_per_commit=applied / stats.commits if stats.commits else None,
            deltas_applied=applied,
            deltas_duplicate=stats.deltas[Verdict.DUPLICATE],
            patterns_rejected=stats.rejected_patterns.total(),
            recovery_seconds=stats.recovery_seconds,
            index_kind=shard.index.kind,
            lsn=shard.table.totals.lsn,
            resident_bytes=read_resident_bytes(),
            round_id=shard.global_state.round.round_id,
            clusters=len(published.clusters) if published else 0,
            codebook_version=shard.aggregates.codebook_version,
            contributors=len(shard.table.liked),
            liked_contents=shard.table.liked.content_count,
            related_rows=len(published.related) if published else 0,
            popular_lists=len(published.popular) if published else 0,
        )
        response.global_version.CopyFrom(from_version(shard.global_state.version))
        return response

    async def ListShards(
        self, request: pb.ListShardsRequest, context: Any
    ) -> pb.ListShardsResponse:
        shards = self._shard.identity.shards
        internal = self._shard.identity.internal_shards
        if CALLER.get().roles == {Role.DEVICE}:
            internal = {}  # a device cannot reach them, and need not know them
        return pb.ListShardsResponse(
            map_version=map_version(shards),
            shards=[
                pb.Shard(
                    shard_id=number,
                    address=shards[number],
                    internal_address=internal.get(number, ""),
                )
                for number in sorted(shards)
            ],
        )

    async def AddContent(
        self, request: pb.AddContentRequest, context: Any
    ) -> pb.AddContentResponse:
        if not 1 <= len(request.contents) <= _MAX_CONTENTS:
            raise InvalidInputError(
                "contents", f"must be from 1 to {_MAX_CONTENTS}, got {len(request.contents)}"
            )
        contents = [
            to_content(content, position) for position, content in enumerate(request.contents)
        ]
        added, replaced = await self._shard.committer.add_contents(contents)
        return pb.AddContentResponse(added_count=added, replaced_count=replaced)

    async def GetContent(
        self, request: pb.GetContentRequest, context: Any
    ) -> pb.GetContentResponse:
        content = await self._shard.catalogue.get(check_content_id(request.content_id))
        return pb.GetContentResponse(content=from_content(content))

    async def ListContent(
        self, request: pb.ListContentRequest, context: Any
    ) -> pb.ListContentResponse:
        size = min(request.page_size or _PAGE_SIZE, _MAX_CONTENT_PAGE_SIZE)
        after = request.page_token and check_content_id(request.page_token, "page_token")
        page = await self._shard.catalogue.list_contents(after, size)
        return pb.ListContentResponse(
            contents=[from_content(c, with_embedding=not request.omit_embeddings) for c in page],
            next_page_token=page[-1].content_id if len(page) == size else "",
        )

    async def SearchPatterns(
        self, request: pb.SearchPatternsRequest, context: Any
    ) -> pb.SearchPatternsResponse:
        limit = request.limit or _SEARCH_LIMIT
        if limit > _MAX_SEARCH_LIMIT:
            raise InvalidInputError("limit", f"must be from 1 to {_MAX_SEARCH_LIMIT}, got {limit}")
        found = await self._search(request, limit)
        vocabulary = self._shard.table.vocabulary
        return pb.SearchPatternsResponse(  # a thousand patterns would hold the loop for too long
            patterns=await asyncio.to_thread(
                from_similar_patterns, found, vocabulary, Encoding.INT8
            ),
            similarities=found.similarities.tolist(),
        )

    async def ListDevices(
        self, request: pb.ListDevicesRequest, context: Any
    ) -> pb.ListDevicesResponse:
        return await asyncio.to_thread(self._inspection.list_devices, request)

    async def GetDevice(self, request: pb.GetDeviceRequest, context: Any) -> pb.GetDeviceResponse:
        return self._inspection.get_device(request)

    async def DeleteDevice(
        self, request: pb.DeleteDeviceRequest, context: Any
    ) -> pb.DeleteDeviceResponse:
        device_id = check_device_id(request.device_id)
        self._streams.end_stream_of(device_id)
        count = await self._shard.delete_device(device_id)
        self._streams.end_stream_of(device_id)  # it may have come back meanwhile
        return pb.DeleteDeviceResponse(pattern_count=count)

    async def QuarantineDevice(
        self, request: pb.QuarantineDeviceRequest, context: Any
    ) -> pb.QuarantineDeviceResponse:
        device_id = check_device_id(request.device_id)
        if (size := len(request.reason.encode())) > _MAX_REASON_BYTES:
            raise InvalidInputError(
                "reason", f"must be at most {_MAX_REASON_BYTES} bytes of UTF-8, got {size}"
            )
        changed = await self._shard.set_quarantine(device_id, quarantined=not request.lift)
        if changed:
            log.warning(
                "quarantine_lifted" if request.lift else "device_quarantined",
                caller=CALLER.get().subject,
                reason=request.reason,
            )
        return pb.QuarantineDeviceResponse(changed=changed)

    async def SamplePatterns(
        self, request: pb.SamplePatternsRequest, context: Any
    ) -> pb.SamplePatternsResponse:
        return await self._inspection.sample_patterns(request)

    async def ListTrends(
        self, request: pb.ListTrendsRequest, context: Any
    ) -> pb.ListTrendsResponse:
        now_hour = int(read_clock()) // 3600
        return self._inspection.list_trends(request, now_hour)

    async def ListClusters(
        self, request: pb.ListClustersRequest, context: Any
    ) -> pb.ListClustersResponse:
        return self._inspection.list_clusters(request)

    async def Drain(self, request: pb.DrainRequest, context: Any) -> pb.DrainResponse:
        spread = to_seconds(request.spread) if request.HasField("spread") else None
        if spread is not None and not 0 <= spread <= _MAX_SPREAD_SECONDS:
            raise InvalidInputError(
                "spread", f"must be from 0 to {_MAX_SPREAD_SECONDS} seconds, got {spread:g}"
            )
        self._process.request_drain(spread)
        return pb.DrainResponse(streams=len(self._streams))

    async def _search(self, request: pb.SearchPatternsRequest, limit: int) -> SimilarPatterns:
        similar = self._shard.similar
        match request.WhichOneof("query"):
            case "embeddings":
                queries = decode_embeddings(request.embeddings, request.encoding, "embeddings")
                if len(queries) > _MAX_QUERIES:
                    raise InvalidInputError(
                        "embeddings", f"must be at most {_MAX_QUERIES}, got {len(queries)}"
                    )
                return await similar.search(queries, limit)
            case "content_id":
                content = await self._shard.catalogue.get(check_content_id(request.content_id))
                codes = np.frombuffer(content.codes, np.int8).reshape(1, DIMENSION)
                return await similar.search(normalise_codes(codes), limit)
            case "device_id":
                device = self._shard.table.find_device(check_device_id(request.device_id))
                if device < 0:
                    raise NotFoundError(f"no device {request.device_id.hex()} has synced here")
                return await similar.search(similar.compute_taste(device), limit)
            case _:
                raise InvalidInputError("query", "must be one of embeddings, content_id, device_id")
