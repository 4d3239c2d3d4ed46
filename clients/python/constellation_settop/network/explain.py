"""Explain in words why there is no connection to an address."""

from __future__ import annotations

from typing import Final

_CLOSED: Final = (
    "it closed the connection: does it require TLS (SyncSettings.tls), or a client certificate, "
    "and is this the gRPC port?"
)
_UNKNOWN_HOST: Final = "the host name is unknown"
_EXPLANATIONS: Final = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not signed by a trusted authority: set TlsSettings.root_certificates",
    ),
    ("Hostname Verification", "its certificate is for another host name"),
    ("WRONG_VERSION_NUMBER", "it does not use TLS: leave SyncSettings.tls out"),
    (
        "CERTIFICATE_REQUIRED",
        "it requires a client certificate: set TlsSettings.private_key and certificate_chain",
    ),
    ("Ssl handshake", "the TLS handshake failed"),
    (
        "Connection refused",
        "connection refused: is the shard running, and is this its gRPC port?",
    ),
    ("errors resolving", _UNKNOWN_HOST),
    ("DNS resolution", _UNKNOWN_HOST),
    ("Trying to connect an http1.x server", "this is an HTTP port: give the gRPC port"),
    ("Expected SETTINGS frame", "this is no gRPC port: give the gRPC port"),
    ("Socket closed", _CLOSED),
    ("Connection reset", _CLOSED),
)
"""A fragment of gRPC's message when no connection is made, and what to say instead."""


def explain_no_connection(details: str) -> str:
    """Return one line for gRPC's message: what went wrong, and what to do."""
    for fragment, explanation in _EXPLANATIONS:
        if fragment in details:
            return explanation
    return " ".join(details.split()) or "the address refuses or is not reachable"
