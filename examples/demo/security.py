"""How the demo's processes know each other: not at all, or by certificates and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from constellation.auth.authority import issue_certificate, make_authority
from constellation.auth.enrolment import Claim, issue_claim
from constellation.auth.keys import SIGNATURE_ALGORITHM, make_key_ring, write_key_ring
from constellation.auth.principal import Role
from constellation.auth.tokens import issue_token
from constellation.cli.connection_flags import ConnectionOptions
from constellation_settop import DeviceIdentity, GlobalKeys, TlsSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from constellation.auth.keys import KeyRing

_AUDIENCE: Final = "constellation"
_TOKEN_SECONDS: Final = 3600.0
_TIMEOUT_SECONDS: Final = 10.0
_DAYS: Final = 1.0


class OpenFleet:
    """A fleet that asks nobody who calls."""

    name = "without certificates and tokens; `make demo SECURE=1` has both"
    server_settings: Mapping[str, str] = {"INSECURE": "1"}
    federation_settings: Mapping[str, str] = {}

    def open_channel(self, address: str, *_: Role) -> grpc.aio.Channel:
        """Return a channel for a caller in some roles."""
        return grpc.aio.insecure_channel(address)

    def make_sync_settings(self, _: bytes) -> Mapping[str, Any]:
        """Return what a device needs in its SyncSettings."""
        return {}


class SecureFleet(OpenFleet):
    """A fleet with an authority of its own, whose callers all present tokens."""

    name = (
        "with TLS, a key in every television, a token for every caller, and a signed global state"
    )

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_authority(folder, "Demo", _DAYS)
        issue_certificate(folder, ["localhost", "127.0.0.1"], "server", _DAYS)
        self._ring: KeyRing = make_key_ring()
        keys = folder / "token-keys.json"
        write_key_ring(keys, self._ring, is_new=True)
        self._vendor = make_key_ring(SIGNATURE_ALGORITHM)
        vendor_keys = _write_ring(folder / "vendor-public.json", self._vendor.to_public())
        signer = make_key_ring(SIGNATURE_ALGORITHM)
        signing_keys = _write_ring(folder / "signing-keys.json", signer)
        global_keys = _write_ring(folder / "global-keys.json", signer.to_public())
        self._global_keys = GlobalKeys.from_file(global_keys)
        self._authorities = (folder / "ca.pem").read_bytes()
        self.server_settings = {
            "TLS_CERT": str(folder / "server.pem"),
            "TLS_KEY": str(folder / "server.key"),
            "TOKEN_KEYS": str(keys),
            "VENDOR_KEYS": vendor_keys,
            "GLOBAL_KEYS": global_keys,
            "INSECURE": "0",
        }
        self.federation_settings = {
            "TLS_CA": str(folder / "ca.pem"),
            "TOKEN_FILE": str(self._write_token("federation", Role.FEDERATION)),
            "SIGNING_KEYS": signing_keys,
        }

    def open_channel(self, address: str, *roles: Role) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(self._authorities)
        token = self._write_token("-".join(roles), *roles)
        return ConnectionOptions(_TIMEOUT_SECONDS, credentials, None, token).open_channel(address)

    def make_sync_settings(self, device_id: bytes) -> Mapping[str, Any]:
        """Make the key of a device, and let its vendor admit it: the shard gives it its tokens."""
        key = Ed25519PrivateKey.generate()
        claim = Claim(device_id, key.public_key().public_bytes_raw(), "demo", "television")
        signed = issue_claim(self._vendor, claim, _TOKEN_SECONDS)
        return {
            "identity": DeviceIdentity(claim=signed, sign=key.sign),
            "tls": TlsSettings(root_certificates=self._authorities),
            "global_keys": self._global_keys,
        }

    def _issue(self, subject: str, *roles: Role) -> str:
        return issue_token(self._ring, _AUDIENCE, subject, roles, _TOKEN_SECONDS)

    def _write_token(self, name: str, *roles: Role) -> Path:
        path = self._folder / f"{name}.token"
        path.touch(0o600)  # before there is a secret in it; others may use a new file by default
        path.write_text(self._issue(name, *roles), encoding="ascii")
        return path


def _write_ring(path: Path, ring: KeyRing) -> str:
    write_key_ring(path, ring, is_new=True)
    return str(path)
