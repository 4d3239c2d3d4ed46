"""Render deploy/kubernetes, the plain manifests, from the chart."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tools.helm import HELM, unpack

DEPLOY = Path(__file__).parents[1] / "deploy"
CHART, MANIFESTS = DEPLOY / "helm" / "constellation", DEPLOY / "kubernetes"
RELEASE = NAMESPACE = "constellation"
KUBERNETES_VERSION = "1.33.0"
"""What `helm template` takes the cluster for, which it does not ask."""

_FILE_HEADER = (
    "# Rendered from deploy/helm/constellation by `.venv/bin/python -m tools.manifests`.\n"
)
_HELM_LABELS = re.compile(r"^ +(app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n", re.MULTILINE)
_MIGRATE_TEMPLATE = "templates/migrate.yaml"


class RenderError(Exception):
    """helm refused; the text is what it said."""


def render_chart(*arguments: str, release: str = RELEASE) -> str:
    """Return what `helm template` makes of the chart with these arguments."""
    unpack(HELM)
    command = [str(HELM), "template", release, str(CHART), "--namespace", NAMESPACE]
    finished = subprocess.run(  # noqa: S603 - helm, and what this module and its tests ask of it
        [*command, "--kube-version", KUBERNETES_VERSION, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise RenderError(finished.stderr)
    return finished.stdout


def render_manifests() -> dict[Path, str]:
    """Return the content of every rendered file under deploy/kubernetes."""
    arguments = {
        "sqlite": ("sqlite.values.yaml", "--no-hooks"),
        "postgres": ("postgres.values.yaml", "--no-hooks"),
        "migrate": ("postgres.values.yaml", "--show-only", _MIGRATE_TEMPLATE),
    }
    return {
        MANIFESTS / folder / "manifests.yaml": _remove_helm_labels(
            render_chart("--values", str(MANIFESTS / values), *rest)
        )
        for folder, (values, *rest) in arguments.items()
    }


def _remove_helm_labels(text: str) -> str:
    """Take the labels away that say Helm looks after these objects."""
    return _FILE_HEADER + _HELM_LABELS.sub("", text)


def main() -> None:
    for path, text in render_manifests().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
