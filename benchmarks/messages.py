"""Deltas as devices send them, with INT8 patterns."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from constellation.encoding import pack_int8, unit_scales
from constellation.v1 import patterns_pb2 as pb

if TYPE_CHECKING:
    from constellation.encoding import Codes


def make_delta(seq: int, codes: Codes, ids: bytes = b"") -> pb.Delta:
    """Return a delta with n patterns: new ones, unless `ids` names them.

    `codes` has the shape (n, DIMENSION).
    """
    count = len(codes)
    return pb.Delta(
        seq=seq,
        upserts=pb.PatternColumns(
            ids=ids or b"".join(uuid.uuid4().bytes for _ in range(count)),
            encoding=pb.ENCODING_INT8,
            embeddings=pack_int8(codes, unit_scales(codes)),
            success_rates=[0.9] * count,
            sample_counts=[3] * count,
            times_of_day=b"\x03" * count,
            day_types=b"\x01" * count,
            content_types=b"\x01" * count,
            created_at=[1_800_000_000] * count,
            updated_at=[1_800_000_000] * count,
        ),
    )
