"""What TLS and tokens cost: durable syncs on open streams, and how many streams open a second."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.delta_runs import SETTINGS, run_delta_load, to_run
from benchmarks.shard_process import make_folder, start_shard
from benchmarks.turns import Run, compare_runs, take_turns
from constellation.auth.authority import issue_certificate, make_authority
from constellation.auth.keys import make_key_ring, write_key_ring

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.delta_load import DeltaLoadResult
    from benchmarks.report import Measurement

_TURNS: Final = 3
_DAYS: Final = 1.0


def measure() -> list[Measurement]:
    """Compare a shard with TLS and tokens with one that has neither, in turns."""
    baseline = "the same in clear text, without tokens"
    sides = {
        "insecure": partial(_run_load, is_secure=False),
        "secure": partial(_run_load, is_secure=True),
    }
    results = take_turns(sides, _TURNS)
    insecure, secure = results["insecure"], results["secure"]
    opened, baseline_opened = (
        [Run(result.streams_per_second) for result in side] for side in (secure, insecure)
    )
    return [
        compare_runs(
            "ingest_secure_vs_insecure",
            "syncs/s",
            list(map(to_run, secure)),
            baseline,
            list(map(to_run, insecure)),
        ),
        compare_runs("streams_secure_vs_insecure", "streams/s", opened, baseline, baseline_opened),
    ]


def _run_load(*, is_secure: bool) -> DeltaLoadResult:
    with make_folder() as folder:
        settings = _make_security(folder) if is_secure else {}
        with start_shard(data_dir=folder / "data", **settings, **SETTINGS) as started:
            return run_delta_load(started.server, folder if is_secure else None)


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
