from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from constellation.blas import choose_openblas_kernel

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("flags", "kernel"),
    [("sse3 avx2 avx512f", "SKYLAKEX"), ("sse3 avx2", "HASWELL"), ("sse3", None)],
)
def test_the_kernel_fits_the_cpu(
    flags: str, kernel: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    cpu = tmp_path / "cpuinfo"
    cpu.write_text(f"flags : {flags}\n")

    choose_openblas_kernel(cpu)

    assert os.environ.pop("OPENBLAS_CORETYPE", None) == kernel


def test_a_kernel_that_was_set_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "ZEN")

    choose_openblas_kernel(tmp_path / "missing")

    assert os.environ["OPENBLAS_CORETYPE"] == "ZEN"
