"""A device's identity is read from its files, and every wrong one is refused with its reason."""

from __future__ import annotations

import json
import logging
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from constellation_settop import DeviceIdentity, InvalidArgumentError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

DEVICE_ID = bytes(range(16))


def make_claim(payload: object) -> str:
    return f"head.{urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip('=')}.signature"


CLAIM = make_claim({"sub": DEVICE_ID.hex()})


def write_key(path: Path, key: PrivateKeyTypes, mode: int = 0o600) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(mode)
    return path


def read_identity(folder: Path, claim: str = CLAIM, mode: int = 0o600) -> DeviceIdentity:
    (folder / "device.claim").write_text(claim + "\n")
    key = write_key(folder / "device.key", Ed25519PrivateKey.generate(), mode)
    return DeviceIdentity.from_files(folder / "device.claim", key)


def test_an_identity_names_its_device_and_signs(tmp_path: Path) -> None:
    identity = read_identity(tmp_path)

    assert identity.device_id == DEVICE_ID
    assert len(identity.sign(b"message")) == 64


def test_neither_claim_nor_key_is_in_its_representation(tmp_path: Path) -> None:
    assert repr(read_identity(tmp_path)) == "DeviceIdentity()"


def test_a_key_that_others_may_read_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        read_identity(tmp_path)
        assert not caplog.messages
        read_identity(tmp_path, mode=0o640)

    assert [each for each in caplog.messages if "chmod 600" in each]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"cannot read .*missing\.key"):
        DeviceIdentity.from_files(tmp_path / "claim", tmp_path / "missing.key")


def test_a_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "claim").write_text(CLAIM)
    (tmp_path / "device.key").write_text("no key")

    with pytest.raises(InvalidArgumentError, match=r"device\.key or .*claim is wrong"):
        DeviceIdentity.from_files(tmp_path / "claim", tmp_path / "device.key")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "claim").write_text(CLAIM)
    key = write_key(tmp_path / "device.key", ec.generate_private_key(ec.SECP256R1()))

    with pytest.raises(InvalidArgumentError, match="is not an Ed25519 key"):
        DeviceIdentity.from_files(tmp_path / "claim", key)


@pytest.mark.parametrize(
    ("claim", "problem"),
    [
        ("", "names no device"),
        ("a.!.c", "names no device"),
        (make_claim([]), "names no device"),
        (make_claim({"sub": "not hex"}), "names no device"),
        (make_claim({"sub": "00"}), "by 16 bytes, got 1"),
    ],
)
def test_a_claim_without_a_device_is_refused(tmp_path: Path, claim: str, problem: str) -> None:
    identity = read_identity(tmp_path, claim)

    with pytest.raises(InvalidArgumentError, match=problem):
        identity.device_id  # noqa: B018 - a property that raises
