"""Inspection: answers about a shard's devices, patterns, trends and clusters, for operators."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from constellation.core.rows import TermKind
from constellation.core.table.hourly import RING_HOURS
from constellation.core.table.standing import SECONDS_PER_DAY
from constellation.encoding import Encoding
from constellation.errors import InvalidInputError, NotFoundError
from constellation.transport.codec.global_state import from_clusters, from_trends
from constellation.transport.codec.paging import to_position
from constellation.transport.codec.patterns import check_device_id, from_rows, from_similar_patterns
from constellation.v1 import patterns_pb2 as patterns
from constellation.v1 import shard_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constellation.core.rows import Slots
    from constellation.core.shard import ShardManager
    from constellation.federated.trends import Trend

_PAGE_SIZE: Final = 100
_MAX_PAGE_SIZE: Final = 1000
_SAMPLE_SIZE: Final = 1000
_MAX_SAMPLE_SIZE: Final = 1000
"""This many patterns are 0.9 MB; a client accepts messages of up to 4 MiB."""


class ConnectedDevices(Protocol):
    """The devices that have an open stream. Other threads call these methods as well."""

    def device_ids(self) -> Sequence[bytes]:
        """Return the devices that have an open stream."""
        ...

    def is_connected(self, device_id: bytes) -> bool:
        """Return whether a device has an open stream."""
        ...


class Inspection:
    """Answers operators from memory, without the store."""

    def __init__(self, shard: ShardManager, connected: ConnectedDevices) -> None:
        self._shard = shard
        self._connected = connected

    def list_devices(self, request: pb.ListDevicesRequest) -> pb.ListDevicesResponse:
        """Return a page of devices, in the order of their rows; a page token is a row number.

        May look at every row, so call it in a worker thread.
        """
        size = min(request.page_size or _PAGE_SIZE, _MAX_PAGE_SIZE)
        start = to_position(request.page_token)
        if request.connected_only:
            page = self._find_connected_rows(start)[: size + 1]
        else:
            page = self._shard.table.list_devices(start, size + 1)
        return pb.ListDevicesResponse(
            devices=[self._to_device(int(row)) for row in page[:size]],
            next_page_token=str(page[size]) if len(page) > size else "",
        )

    def get_device(self, request: pb.GetDeviceRequest) -> pb.GetDeviceResponse:
        """Return one device with its patterns, newest first."""
        device_id = check_device_id(request.device_id)
        row = self._shard.table.find_device(device_id)
        if row < 0:
            raise NotFoundError(f"no device {device_id.hex()} has synced here")
        table = self._shard.table
        rows = table.patterns[table.find_patterns(np.array([row])).slots]
        rows = rows[np.argsort(-rows["updated_at"].astype(np.int64), kind="stable")]
        liked = table.liked.read(np.array([row]))["contents"][0]
        return pb.GetDeviceResponse(
            device=self._to_device(row),
            patterns=from_rows(rows, rows["pattern_id"].tobytes(), table.vocabulary, Encoding.INT8),
            liked_content_ids=[
                table.vocabulary.text(TermKind.CONTENT, number) for number in liked[liked > 0]
            ],
        )

    async def sample_patterns(self, request: pb.SamplePatternsRequest) -> pb.SamplePatternsResponse:
        """Return an even sample of the shared patterns; it stays the same until patterns change."""
        limit = request.limit or _SAMPLE_SIZE
        if limit > _MAX_SAMPLE_SIZE:
            raise InvalidInputError("limit", f"must be from 1 to {_MAX_SAMPLE_SIZE}, got {limit}")
        shard = self._shard
        sample = shard.similar.sample(limit)
        return pb.SamplePatternsResponse(  # so many patterns would hold the loop for too long
            patterns=await asyncio.to_thread(
                from_similar_patterns, sample, shard.table.vocabulary, Encoding.INT8
            ),
            population=len(shard.index),
        )

    def list_trends(self, request: pb.ListTrendsRequest, now_hour: int) -> pb.ListTrendsResponse:
        """Return the trends served now, with the counts of their last hours up to `now_hour`.

        A count below K_ANONYMITY is 0.
        """
        if request.hours > RING_HOURS:
            raise InvalidInputError("hours", f"must be at most {RING_HOURS}, got {request.hours}")
        trends = self._shard.global_state.trends()
        trends = trends[: request.limit or len(trends)]
        messages = from_trends(trends, self._shard.identity.region)
        return pb.ListTrendsResponse(
            trends=[
                pb.TrendHistory(
                    trend=message,
                    hourly_devices=self._count_hourly_devices(trend, now_hour, request.hours),
                )
                for message, trend in zip(messages, trends, strict=True)
            ],
            newest_hour=now_hour,
        )

    def list_clusters(self, request: pb.ListClustersRequest) -> pb.ListClustersResponse:
        """Return a page of the clusters of the federation's last global state.

        A page token is a position in the list of clusters.
        """
        published = self._shard.global_state.published
        if published is None:
            none = patterns.PatternColumns(encoding=patterns.ENCODING_INT8)
            return pb.ListClustersResponse(clusters=none)
        clusters = published.clusters
        size = min(request.page_size or _MAX_PAGE_SIZE, _MAX_PAGE_SIZE)
        start = min(to_position(request.page_token), len(clusters))
        end = min(start + size, len(clusters))
        return pb.ListClustersResponse(
            clusters=from_clusters(clusters, list(range(start, end)), Encoding.INT8),
            round_id=published.round.round_id,
            next_page_token=str(end) if end < len(clusters) else "",
        )

    def _find_connected_rows(self, start: int) -> Slots:
        found = self._shard.table.find_devices(self._connected.device_ids())
        rows: Slots = np.sort(found[found >= start])
        return rows

    def _to_device(self, row_number: int) -> pb.Device:
        table = self._shard.table
        row = table.devices[row_number]
        device_id = row["device_id"].tobytes()
        device = pb.Device(
            device_id=device_id,
            incarnation=int(row["incarnation"]),
            through_seq=int(row["seq"]),
            pattern_count=int(table.pattern_counts[row_number]),
            connected=self._connected.is_connected(device_id),
            relocated=bool(table.relocated[row_number]),
            counted=bool(table.standing.numbers[row_number]),
            quarantined=bool(row["quarantined"]),
            active_days=int(row["active_days"]),
            attested=bool(row["attested"]),
        )
        if first_day := int(row["first_day"]):
            device.first_day.FromSeconds(first_day * SECONDS_PER_DAY)
        device.synced_at.FromSeconds(int(row["synced_at"]))
        return device

    def _count_hourly_devices(self, trend: Trend, now_hour: int, hours: int) -> list[int]:
        """Return a trend's number of devices in each of the last hours, the current hour last."""
        kind = TermKind.GENRE if trend.genre else TermKind.CONTENT
        number = self._shard.table.vocabulary.number(kind, trend.genre or trend.content_id)
        counts = [
            self._shard.ring.count(kind, hour, number)
            for hour in range(now_hour - hours + 1, now_hour + 1)
        ]
        return [count if count >= self._shard.rules.k_anonymity else 0 for count in counts]
