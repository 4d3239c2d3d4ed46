from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from constellation.core.index.lock import ReadersWriterLock


def test_readers_hold_the_lock_together() -> None:
    lock, both = ReadersWriterLock(), Barrier(2, timeout=5)

    def read() -> int:
        with lock.lock_shared():
            return both.wait()

    with ThreadPoolExecutor() as threads:
        arrivals = [threads.submit(read), threads.submit(read)]

    assert {arrival.result() for arrival in arrivals} == {0, 1}


def test_a_writer_is_alone() -> None:
    lock, total = ReadersWriterLock(), [0, 0]

    def write() -> None:
        for _ in range(2000):
            with lock.lock_exclusive():
                total[0] += 1
                total[1] += 1

    def read() -> bool:
        for _ in range(2000):
            with lock.lock_shared():
                if total[0] != total[1]:
                    return False
        return True

    with ThreadPoolExecutor() as threads:
        writers = [threads.submit(write) for _ in range(2)]
        readers = [threads.submit(read) for _ in range(2)]

    assert all(reader.result() for reader in readers)
    assert [writer.result() for writer in writers] == [None, None]
    assert total == [4000, 4000]
