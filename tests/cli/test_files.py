from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from constellation.cli.errors import CommandError
from constellation.cli.exit_codes import USAGE_ERROR
from constellation.cli.files import open_input, open_output

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO


def test_an_input_file_comes_with_its_size(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"12345")

    with open_input(str(path)) as (file, size_bytes):
        assert (file.read(), size_bytes) == (b"12345", 5)


def test_a_missing_input_file_is_a_usage_error_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "none"

    with pytest.raises(CommandError) as raised, open_input(str(path)):
        pass

    assert str(raised.value) == f"cannot read {path}: No such file or directory"
    assert raised.value.exit_code == USAGE_ERROR


def test_an_output_file_has_its_name_only_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out"

    with open_output(str(path)) as file:
        file.write(b"new")
        assert not path.exists()

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def write_and_fail(file: BinaryIO) -> None:
    file.write(b"new")
    file.close()
    file.write(b"more")


def test_a_failure_keeps_the_old_output_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")

    with pytest.raises(ValueError, match="closed file"), open_output(str(path)) as file:
        write_and_fail(file)

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_file_in_a_missing_directory_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "none" / "out"

    with pytest.raises(CommandError) as raised, open_output(str(path)):
        pass

    assert str(raised.value) == f"cannot write {path}: No such file or directory"
    assert raised.value.exit_code == USAGE_ERROR


def test_a_dash_is_standard_output(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with open_output("-") as file:
        file.write(b"line\n")

    assert capsysbinary.readouterr().out == b"line\n"
