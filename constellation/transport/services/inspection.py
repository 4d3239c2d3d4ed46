"""Inspection: what operators see of a shard's devices, patterns, trends and clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from constellation.core.rows import TermKind
from constellation.core.table.hourly import RING_HOURS
from constellation.encoding import ID_BYTES, Encoding
from constellation.errors import InvalidInputError, NotFoundError
from constellation.transport.codec.globals import from_clusters, from_trends
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
_MAX_SAMPLE_SIZE: Final = 2000
"""0.9 MB of patterns: a message may have 4 MiB."""
_SCAN_ROWS: Final = 65_536


class ConnectedDevices(Protocol):
    """Who has an open stream. Asked from other threads, too."""

    def device_ids(self) -> Sequence[bytes]: ...

    def is_connected(self, device_id: bytes) -> bool: ...


class Inspection:
    """Answers operators from memory; the store is not asked."""

    def __init__(self, shard: ShardManager, connected: ConnectedDevices) -> None:
        self._shard = shard
        self._connected = connected

    def list_devices(self, request: pb.ListDevicesRequest) -> pb.ListDevicesResponse:
        """Return a page of devices, in the order of their rows; a page token is a row number.

        May look at every row: belongs in a worker thread.
        """
        size = min(request.page_size or _PAGE_SIZE, _MAX_PAGE_SIZE)
        start = to_position(request.page_token)
        if request.connected_only:
            page = self._find_connected_rows(start)[: size + 1]
        else:
            page = self._find_rows(start, size + 1)
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
        return pb.GetDeviceResponse(
            device=self._to_device(row),
            patterns=from_rows(rows, rows["pattern_id"].tobytes(), table.vocabulary, Encoding.INT8),
        )

    def sample_patterns(self, request: pb.SamplePatternsRequest) -> pb.SamplePatternsResponse:
        """Return shared patterns, evenly picked: the same ones until something changes."""
        limit = request.limit or _SAMPLE_SIZE
        if limit > _MAX_SAMPLE_SIZE:
            raise InvalidInputError("limit", f"must be from 1 to {_MAX_SAMPLE_SIZE}, got {limit}")
        shard = self._shard
        return pb.SamplePatternsResponse(
            patterns=from_similar_patterns(
                shard.similar.sample(limit), shard.table.vocabulary, Encoding.INT8
            ),
            population=len(shard.index),
        )

    def list_trends(self, request: pb.ListTrendsRequest, now_hour: int) -> pb.ListTrendsResponse:
        """Return the trends served now, with their last hours; what few share shows as 0."""
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
        """Return a page of the clusters of the federation's last global, by their places."""
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

    def _find_rows(self, start: int, limit: int) -> Slots:
        """Return the first row numbers in use from one on; looks no further than it must."""
        table = self._shard.table
        incarnations, high_water = table.devices["incarnation"], table.device_allocator.high_water
        found: list[Slots] = []
        count = 0
        while start < high_water and count < limit:
            block = (
                np.flatnonzero(incarnations[start : min(start + _SCAN_ROWS, high_water)]) + start
            )
            found.append(block)
            count += len(block)
            start += _SCAN_ROWS
        return np.concatenate(found or [np.empty(0, np.int64)])[:limit]

    def _find_connected_rows(self, start: int) -> Slots:
        ids = np.frombuffer(b"".join(self._connected.device_ids()), "<u8")
        ids = ids.reshape(-1, ID_BYTES // 8)
        found = self._shard.table.slots_by_device.find(ids)
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
        )
        device.synced_at.FromSeconds(int(row["synced_at"]))
        return device

    def _count_hourly_devices(self, trend: Trend, now_hour: int, hours: int) -> list[int]:
        """Return a trend's devices of the last hours, the current one last."""
        kind = TermKind.GENRE if trend.genre else TermKind.CONTENT
        number = self._shard.table.vocabulary.number(kind, trend.genre or trend.content_id)
        counts = [
            self._shard.ring.count(kind, hour, number)
            for hour in range(now_hour - hours + 1, now_hour + 1)
        ]
        return [count if count >= self._shard.rules.k_anonymity else 0 for count in counts]
