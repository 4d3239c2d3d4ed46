"""Render the plain manifests in deploy/kubernetes from the Helm chart."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tools.helm import HELM, unpack

DEPLOY = Path(__file__).parents[1] / "deploy"
CHART, MANIFESTS = DEPLOY / "helm" / "constellation", DEPLOY / "kubernetes"
RELEASE = NAMESPACE = "constellation"
KUBERNETES_VERSION = "1.33.0"
"""The version that `helm template` assumes for the cluster, because it does not ask a cluster."""

_FILE_HEADER = (
    "# Rendered from deploy/helm/constellation by `.venv/bin/python -m tools.manifests`.\n"
)
_HELM_LABELS = re.compile(r"^ +(app\.kubernetes\.io/managed-by|helm\.sh/chart): .*\n", re.MULTILINE)
_MIGRATE_TEMPLATE = "templates/migrate.yaml"


class RenderError(Exception):
    """helm could not render the chart; the message is helm's own."""


def render_chart(*arguments: str, release: str = RELEASE) -> str:
    """Return the manifests that `helm template` renders from the chart with these arguments.

    Raises RenderError with helm's message.
    """
    unpack(HELM)
    command = [str(HELM), "template", release, str(CHART), "--namespace", NAMESPACE]
    finished = subprocess.run(  # noqa: S603 - helm, with arguments of this module and its tests
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
    """Remove the labels that mark these objects as managed by Helm."""
    return _FILE_HEADER + _HELM_LABELS.sub("", text)


def main() -> None:
    for path, text in render_manifests().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
