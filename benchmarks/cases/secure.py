"""What TLS and tokens cost: durable syncs on open streams, and how many streams open a second."""

from __future__ import annotations

import statistics
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.delta_runs import SETTINGS, compare_syncs, run_delta_load
from benchmarks.report import compare
from benchmarks.shard_process import make_folder, start_shard
from constellation.auth.authority import issue_certificate, make_authority
from constellation.auth.keys import make_key_ring, write_key_ring

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.delta_load import DeltaLoadResult
    from benchmarks.report import Measurement

_ROUNDS: Final = 3
_DAYS: Final = 1.0


def measure() -> list[Measurement]:
    """Compare a shard with TLS and tokens with one that has neither, in turns."""
    opened: dict[bool, list[float]] = {True: [], False: []}

    def measure_side(is_secure: bool) -> float:  # noqa: FBT001 - bound by partial below
        result = _run_load(is_secure=is_secure)
        opened[is_secure].append(result.streams_per_second)
        return result.syncs_per_second

    syncs = compare_syncs(
        "ingest_secure_vs_insecure",
        "the same in clear text, without tokens",
        _ROUNDS,
        (partial(measure_side, True), partial(measure_side, False)),  # noqa: FBT003 - as above
    )
    rate, insecure_rate = (statistics.median(opened[side]) for side in (True, False))
    baseline = "the same in clear text, without tokens"
    return [
        syncs,
        compare("streams_secure_vs_insecure", rate, "streams/s", baseline, insecure_rate),
    ]


def _run_load(*, is_secure: bool) -> DeltaLoadResult:
    with make_folder() as folder:
        settings = _make_security(folder) if is_secure else {}
        with start_shard(data_dir=folder / "data", **settings, **SETTINGS) as started:
            return run_delta_load(started.port, folder if is_secure else None)


def _make_security(folder: Path) -> dict[str, Path]:
    """Write an authority, a certificate and keys; return the settings of a shard with them."""
    make_authority(folder, "Benchmark", _DAYS)
    issue_certificate(folder, ["127.0.0.1"], "server", _DAYS)
    write_key_ring(folder / "token-keys.json", make_key_ring(), is_new=True)
    return {
        "tls_cert": folder / "server.pem",
        "tls_key": folder / "server.key",
        "token_keys": folder / "token-keys.json",
    }
