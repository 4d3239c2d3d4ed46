"""Ask the process in this container how it is; the image has no other HTTP client.

Without a word: whether it lives. With the word "ready": whether it takes traffic.
"""

from __future__ import annotations

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

SHARD, FEDERATION = "0.0.0.0:8080", "0.0.0.0:8081"
TIMEOUT_SECONDS = 2.0


def problem_at(address: str, question: str) -> str | None:
    """Return why the answer is no, or None when it is yes."""
    port = int(address.rpartition(":")[2])
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"/health/{question}")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"port {port}: {error}"
    finally:
        connection.close()
    return None if status == HTTPStatus.OK else f"port {port}: HTTP status {status}"


def main() -> str | None:
    """Return None when the shard or the federation says yes, at REST_ADDR or its default."""
    question = sys.argv[1] if len(sys.argv) > 1 else "live"
    addresses = [address] if (address := os.environ.get("REST_ADDR")) else [SHARD, FEDERATION]
    problems = [problem_at(address, question) for address in addresses]
    return None if None in problems else "; ".join(filter(None, problems))


if __name__ == "__main__":
    sys.exit(main())  # a problem goes to stderr, with status 1
