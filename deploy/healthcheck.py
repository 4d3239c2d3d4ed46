"""The health check of the container image, which contains no other HTTP client.

Without an argument, it checks that the process is alive. With the argument "ready", it checks that
the process accepts traffic. If the check fails, it prints the problem to stderr and exits with
status 1.
"""

from __future__ import annotations

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address

SHARD, FEDERATION = "0.0.0.0:8080", "0.0.0.0:8081"
TIMEOUT_SECONDS = 2.0
IPV4 = 4


def split_address(address: str) -> tuple[str, int]:
    """Return host and port to connect to: for a wildcard, those of the matching loopback."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        ip = ip_address(host)
    except ValueError:  # a name
        return host, int(port)
    loopback = "127.0.0.1" if ip.version == IPV4 else "::1"
    return loopback if ip.is_unspecified else host, int(port)


def problem_at(address: str, question: str) -> str | None:
    """Return the problem at an address, or None if the process there answers with status 200."""
    host, port = split_address(address)
    connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"/health/{question}")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"{address}: {error}"
    finally:
        connection.close()
    return None if status == HTTPStatus.OK else f"{address}: HTTP status {status}"


def main() -> str | None:
    """Return the problem at REST_ADDR or its default, or None if a process is healthy there."""
    question = sys.argv[1] if len(sys.argv) > 1 else "live"
    addresses = [address] if (address := os.environ.get("REST_ADDR")) else [SHARD, FEDERATION]
    problems = [problem_at(address, question) for address in addresses]
    return None if None in problems else "; ".join(filter(None, problems))


if __name__ == "__main__":
    sys.exit(main())  # a problem goes to stderr, with status 1
