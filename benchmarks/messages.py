"""Deltas as devices send them, with one new INT8 pattern each."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from constellation.encoding import pack_int8, unit_scales
from constellation.v1 import patterns_pb2 as pb

if TYPE_CHECKING:
    from constellation.encoding import Codes


def make_delta(seq: int, codes: Codes) -> pb.Delta:
    """Return a delta that adds one pattern. `codes` has the shape (1, DIMENSION)."""
    return pb.Delta(
        seq=seq,
        upserts=pb.PatternColumns(
            ids=uuid.uuid4().bytes,
            encoding=pb.ENCODING_INT8,
            embeddings=pack_int8(codes, unit_scales(codes)),
            success_rates=[0.9],
            sample_counts=[3],
            times_of_day=b"\x03",
            day_types=b"\x01",
            content_types=b"\x01",
            created_at=[1_800_000_000],
            updated_at=[1_800_000_000],
        ),
    )
