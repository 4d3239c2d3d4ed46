"""Keeping a file with a copy of the shard's catalogue."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import grpc
import numpy as np

from constellation.encoding import DIMENSION
from constellation.v1 import sync_pb2 as pb
from constellation.v1.sync_pb2_grpc import SyncServiceStub
from constellation_settop.errors import CredentialError, StorageError, UnreachableError
from constellation_settop.network.channel import connect, open_channel, parse_failure
from constellation_settop.network.identity import TokenSource
from constellation_settop.network.route import ShardRoute
from constellation_settop.network.settings import SyncSettings
from constellation_settop.recommending.catalogue import Catalogue
from constellation_settop.recommending.catalogue_items import (
    check_item,
    compute_bucket_digests,
    merge_items,
    to_bucket,
)
from constellation_settop.storage.staging import Staging

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from constellation.v1.sync_pb2_grpc import SyncServiceAsyncStub

log = logging.getLogger("constellation_settop")

MAX_BUCKETS: Final = 16_384
MAX_ITEMS: Final = 1_000_000
"""The most content items of a copy; a shard that sends more breaks the protocol."""
READ_TIMEOUT_SECONDS: Final = 60.0
"""How long the shard may take for each response."""
_ITEMS_PER_BUCKET: Final = 8


async def fetch_catalogue(
    address: str, path: Path, settings: SyncSettings | None = None
) -> Catalogue:
    """Bring the copy of the shard's catalogue in a file up to date, and return it.

    Only what the file lacks is fetched. A fetch that was interrupted goes on with the next call,
    from "<name>.partial". A damaged file is renamed to "<name>.damaged" and fetched anew.

    Args:
        address: "host:port" of any shard, or of a proxy in front of the shards.
        path: the file; it is made when it is missing.
        settings: the credential and TLS of the connection; None means neither.

    Raises UnreachableError when no shard answers or one breaks the protocol, CredentialError when
    it refuses the credential, and StorageError when the disk refuses.

    Example:
        catalogue = await fetch_catalogue("shard.example:50051", Path("catalogue.bin"))
    """
    resolved = settings or SyncSettings()
    tokens = TokenSource(resolved.credential, resolved.identity)
    route = ShardRoute(address, b"", resolved, tokens)
    base = read_copy(path)
    if not len(base.columns.item_hashes):  # it came from elsewhere: nothing of it can be compared
        base = make_empty_catalogue()
    with Staging.open(path.with_name(f"{path.name}.partial")) as staging:
        channel = open_channel(address, resolved.tls)
        try:
            await connect(channel)
            await tokens.refresh(channel)
            await _fetch_buckets(channel, base, staging, route)
        except grpc.aio.AioRpcError as error:
            failure = parse_failure(error)
            message = f"the catalogue was not fetched: {failure.reason}"
            if failure.is_credential_refused:
                raise CredentialError(message) from error
            raise UnreachableError(message, failure.delay_seconds) from error
        except ValueError as error:
            staging.clear()
            raise UnreachableError(f"the shard breaks the protocol: {error}") from error
        finally:
            await channel.close()
        if not staging.bucket_count:
            return base
        catalogue = await _finish(base, staging, path)
    log.info("the catalogue has %d content items", len(catalogue))
    return catalogue


def make_empty_catalogue() -> Catalogue:
    """Return a catalogue without content items."""
    return Catalogue([], np.empty((0, DIMENSION), np.float32))


def read_copy(path: Path) -> Catalogue:
    """Return the catalogue in a file: an empty one when the file is missing or damaged.

    A damaged file is renamed to "<name>.damaged". Raises StorageError when the disk refuses.
    """
    if not path.exists():
        return make_empty_catalogue()
    try:
        return Catalogue.read(path)
    except StorageError as error:
        aside = path.with_name(f"{path.name}.damaged")
        log.warning("%s; it is renamed to %s", error, aside)
    try:
        path.replace(aside)
    except OSError as error:
        raise StorageError(f"cannot rename {path}: {error.strerror or error}") from error
    return read_copy(path)


async def _fetch_buckets(
    channel: grpc.aio.Channel, base: Catalogue, staging: Staging, route: ShardRoute
) -> None:
    """Store every bucket that differs. Raises AioRpcError, and ValueError for a broken shard."""
    digests = _declare(base, staging)
    stub: SyncServiceAsyncStub = SyncServiceStub(channel)
    call = stub.GetCatalogue(
        pb.GetCatalogueRequest(bucket_digests=digests.astype("<u8").tobytes()),
        metadata=tuple(route.call_metadata()),
    )
    try:
        while True:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                response = await call.read()
            if response is grpc.aio.EOF:
                return
            if not isinstance(response, pb.GetCatalogueResponse):  # gRPC's result for other bytes
                raise ValueError(  # noqa: TRY004  # of the shard, not of a caller
                    "its answer cannot be decoded: this is not a shard"
                )
            _store(response, staging, len(digests))
    except TimeoutError as error:
        raise UnreachableError(
            f"the shard sent nothing of the catalogue for {READ_TIMEOUT_SECONDS:g} s"
        ) from error
    finally:
        call.cancel()


def _declare(base: Catalogue, staging: Staging) -> NDArray[np.uint64]:
    """Return the digest of each bucket that is here; nothing when nothing is here."""
    count = staging.bucket_count
    if not count and not len(base):
        return np.empty(0, np.uint64)
    if not count:
        count = _choose_bucket_count(len(base))
    digests = compute_bucket_digests(base, count)
    for bucket, digest in staging.read_digests().items():
        digests[bucket] = digest
    return digests


def _choose_bucket_count(item_count: int) -> int:
    """Return a power of two with which a bucket has about _ITEMS_PER_BUCKET content items."""
    wanted = max(1, item_count // _ITEMS_PER_BUCKET)
    return int(min(MAX_BUCKETS, 1 << (wanted - 1).bit_length()))


def _store(response: pb.GetCatalogueResponse, staging: Staging, declared_count: int) -> None:
    count = response.bucket_count
    expected = declared_count or staging.bucket_count
    if count not in {1 << bits for bits in range(MAX_BUCKETS.bit_length())} or (
        expected and count != expected
    ):
        raise ValueError(f"bucket_count must be {expected or 'a power of two'}, got {count}")
    digests = dict.fromkeys(response.buckets, 0)
    if max(digests, default=0) >= count:
        raise ValueError(f"a bucket must be below {count}, got {max(digests)}")
    items = []
    for item in response.items:
        check_item(item)
        bucket = to_bucket(item.content_id, count)
        if bucket not in digests:
            raise ValueError(f"{item.content_id!r} is in bucket {bucket}, which was not sent")
        digests[bucket] = (digests[bucket] + item.hash) % 2**64
        items.append((item.content_id, bucket, item.SerializeToString()))
    if len({content_id for content_id, _, _ in items}) < len(items):
        raise ValueError("a content item came twice in one response")
    staging.store(count, digests, items)
    if staging.count_items() > MAX_ITEMS:
        raise ValueError(f"a catalogue has at most {MAX_ITEMS} content items")


async def _finish(base: Catalogue, staging: Staging, path: Path) -> Catalogue:
    """Write the file, and return what it has; nothing is staged then."""
    count = staging.bucket_count
    replaced = staging.read_digests()
    # The staged content items are read in that thread, while nothing else uses them.
    await asyncio.to_thread(_write_merged, base, staging, set(replaced), count, path)
    staging.clear()
    return await asyncio.to_thread(Catalogue.read, path)


def _write_merged(
    base: Catalogue,
    staging: Staging,
    replaced: set[int],
    bucket_count: int,
    path: Path,
) -> None:
    items, count = staging.read_items(), staging.count_items()
    merge_items(base, items, count, replaced, bucket_count).write(path)
