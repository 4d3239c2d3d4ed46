"""What a program does before it imports anything else; knows no other module."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Final

_SERVER_MODULES: Final = {
    "cryptography": "cryptography",
    "faiss-cpu": "faiss",
    "grpcio-health-checking": "grpc_health",
    "grpcio-reflection": "grpc_reflection",
    "grpcio-status": "grpc_status",
    "numpy": "numpy",
    "opentelemetry-exporter-otlp-proto-grpc": "opentelemetry",
    "opentelemetry-exporter-prometheus": "opentelemetry",
    "opentelemetry-sdk": "opentelemetry",
    "psycopg": "psycopg",
    "pyjwt": "jwt",
    "rich": "rich",
    "shtab": "shtab",
    "starlette": "starlette",
    "structlog": "structlog",
    "threadpoolctl": "threadpoolctl",
    "uvicorn": "uvicorn",
    "uvloop": "uvloop",
}
"""By package of the extra `server`: a module of it."""


def require_server_packages(program: str) -> None:
    """End the process, with what to install, when the packages of a server are missing.

    Without the extra, only the messages of the API are installed, as devices need them.
    """
    missing = [package for package, module in _SERVER_MODULES.items() if not find_spec(module)]
    if missing:
        sys.exit(
            f"{program}: the package {missing[0]} is missing: install constellation-tv[server], "
            "for example with `pip install 'constellation-tv[server]'`"
        )


def prepare_process() -> None:
    """Give the process its standard descriptors, private files, and a gRPC that is quiet.

    A descriptor from 0 to 2 that is closed, as after `2>&-`, would be handed to the first file or
    socket that is opened, and what is meant for people would be written into it: it becomes
    /dev/null. gRPC reads its variable when it is imported; the commands explain failures
    themselves. What the process writes, only its owner may read.
    """
    os.umask(0o077)  # stores, snapshots and exports have what belongs to households
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    # Python found no file behind them when it started
    sys.stdin = sys.stdin or open(0, encoding="utf-8")  # noqa: SIM115 - for the whole process
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115
