"""A file of a host is read whole, and one that is missing or has no end is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from constellation_settop import DeviceIdentity, GlobalKeys, InvalidArgumentError
from constellation_settop.network.files import MAX_FILE_BYTES, read_limited

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_of_the_largest_size_is_read_whole(tmp_path: Path) -> None:
    data = bytes(MAX_FILE_BYTES)
    (tmp_path / "file").write_bytes(data)

    assert read_limited(tmp_path / "file") == data


def test_a_file_that_is_too_large_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(MAX_FILE_BYTES + 1))

    with pytest.raises(InvalidArgumentError, match=r"/file has more than 1,048,576 bytes"):
        read_limited(tmp_path / "file")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"cannot read .*/none: No such file"):
        read_limited(tmp_path / "none")


def test_a_device_without_end_is_no_key_and_no_claim(tmp_path: Path) -> None:
    key = tmp_path / "device.key"
    key.touch(0o600)

    for read in (
        lambda: DeviceIdentity.from_files(claim="/dev/zero", private_key=key),
        lambda: DeviceIdentity.from_files(claim=key, private_key="/dev/zero"),
        lambda: GlobalKeys.from_file("/dev/zero"),
    ):
        with pytest.raises(InvalidArgumentError, match="/dev/zero has more than"):
            read()
