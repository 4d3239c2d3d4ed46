"""What gRPC says about a failed call, with addresses as people write them."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

_NO_CONNECTION: Final = re.compile(
    r"^failed to connect to all addresses; last error: [A-Z_]+: \S+: "
    r"(Failed to connect to remote host: |connect failed: addr: \S+ error: |recvmsg: ?)?"
)
_UNKNOWN_HOST: Final = re.compile(r"^(errors resolving|DNS resolution failed for) (\S+?):? .*")
_ADDRESS: Final = re.compile(r"\bipv[46]:(?=[%0-9])(\S+)")
"""An address as gRPC writes it, such as `ipv6:%5B::1%5D:57420`."""


def clean_details(details: str | None) -> str:
    """Return the details of a failed call as one line that people can read.

    Of a call that found no connection it keeps the reason only: the caller knows the address that
    was called. Addresses elsewhere become host:port. What a server said stays as it is.
    """
    line = " ".join((details or "").split())
    line = _UNKNOWN_HOST.sub(r"the host name of \2 is unknown", line)
    line = _NO_CONNECTION.sub("", line)
    return _ADDRESS.sub(lambda found: unquote(found[1]), line)
