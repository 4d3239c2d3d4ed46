from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.resources import read_disk_share, read_memory_limit, read_resident_bytes

if TYPE_CHECKING:
    from pathlib import Path


def test_a_process_uses_some_memory() -> None:
    before = read_resident_bytes()
    held = bytearray(b"x" * (64 << 20))

    assert read_resident_bytes() - before > len(held) // 2


def test_the_limit_of_a_container_is_read(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    assert read_memory_limit(limit) is None
    limit.write_text("max\n", encoding="ascii")
    assert read_memory_limit(limit) is None
    limit.write_text("4294967296\n", encoding="ascii")
    assert read_memory_limit(limit) == 4 << 30


def test_a_disk_is_used_in_part(tmp_path: Path) -> None:
    assert 0 < read_disk_share(tmp_path) < 1
    assert read_disk_share(tmp_path / "gone") == 0
