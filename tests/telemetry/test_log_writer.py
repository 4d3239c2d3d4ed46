from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from constellation.telemetry.log_writer import LogWriter

if TYPE_CHECKING:
    from pathlib import Path

PIPE_BYTES = 1 << 16


def test_lines_arrive_whole_and_in_order() -> None:
    reader, descriptor = os.pipe()
    writer = LogWriter(descriptor)

    for number in range(500):
        writer.write(f"line {number}\n")

    assert writer.wait_until_written(5)
    lines = os.read(reader, PIPE_BYTES).decode().splitlines()
    assert lines == [f"line {number}" for number in range(500)]
    assert writer.lost_lines == 0


def test_a_reader_that_does_not_read_holds_nobody_up() -> None:
    _, descriptor = os.pipe()
    os.write(descriptor, bytes(PIPE_BYTES))  # it is full
    writer = LogWriter(descriptor, max_bytes=10_000)
    started = time.monotonic()

    for _ in range(10_000):
        writer.write("x" * 99 + "\n")

    assert time.monotonic() - started < 2
    assert writer.lost_lines > 9_700
    assert not writer.wait_until_written(0.01)


def test_a_reader_that_has_gone_costs_lines_and_no_error() -> None:
    reader, descriptor = os.pipe()
    writer = LogWriter(descriptor)
    os.close(reader)

    writer.write("nobody reads this\n")

    assert writer.wait_until_written(5)
    assert writer.lost_lines == 1


def test_a_full_disk_costs_lines_and_no_error() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    writer = LogWriter(descriptor)

    writer.write("there is no room for this\n")

    assert writer.wait_until_written(5)
    assert writer.lost_lines == 1


def test_lines_that_were_lost_are_reported_once_a_line_is_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    full = os.open("/dev/full", os.O_WRONLY)
    reported: list[int] = []
    writer = LogWriter(full, on_recovered=reported.append)
    writer.write("lost\n")
    assert writer.wait_until_written(5)

    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), full)  # there is room again
    writer.write("written\n")

    assert writer.wait_until_written(5)
    assert path.read_text() == "written\n"
    assert reported == [1]


def test_a_descriptor_that_does_not_block_is_waited_for() -> None:
    reader, descriptor = os.pipe()
    os.set_blocking(descriptor, False)
    writer = LogWriter(descriptor)
    text = "x" * 999 + "\n"

    for _ in range(200):
        writer.write(text)

    received = b""
    while len(received) < 200_000:
        received += os.read(reader, PIPE_BYTES)
    assert received.decode() == text * 200
    assert writer.lost_lines == 0
