from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.deploy.chart import IMAGE, POSTGRES, load_chart
from tools.manifests import DEPLOY

GUIDE, _, _ = (DEPLOY.parent / "docs" / "deployment.md").read_text().partition("\n## Compose\n")
VALUES: list[dict[str, Any]] = [
    yaml.safe_load(block)
    for block in re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    if "prometheus-adapter" not in block
]
KINDS = {
    "statefulset": "StatefulSet",
    "deployment": "Deployment",
    "service": "Service",
    "job": "Job",
}
NAMED = re.compile(rf"\b({'|'.join(KINDS)})[/ ](constellation-[a-z0-9-]*[a-z0-9])")


@pytest.mark.parametrize("values", VALUES, ids=lambda values: values.get("store", ""))
def test_the_chart_accepts_the_values_in_the_guide(values: dict[str, Any]) -> None:
    assert load_chart({**IMAGE, **values}).documents


def test_the_guide_names_objects_that_exist() -> None:
    known = {
        (each["kind"], each["metadata"]["name"])
        for values in ({}, POSTGRES)
        for each in load_chart(values).documents
    }
    named = {(KINDS[kind], name) for kind, name in NAMED.findall(GUIDE)}

    assert {kind for kind, _ in named} == set(KINDS.values())
    shard = ("Deployment", "constellation-shard")  # "constellation-shard-$shard"
    assert named - {shard} <= known


def test_the_guide_selects_objects_by_labels_they_have() -> None:
    selectors = set(re.findall(r"--selector ([^ \n]+)", GUIDE))
    deployments = [
        each["metadata"]["labels"] for each in load_chart(POSTGRES).find_all("Deployment")
    ] + [each["metadata"]["labels"] for each in load_chart({}).find_all("PersistentVolumeClaim")]

    assert selectors
    for selector in selectors:
        label, _, value = selector.partition("=")
        assert any(labels.get(label) == value for labels in deployments)


def test_the_guide_states_the_default_grace_period() -> None:
    (shard,) = load_chart({}).iterate_pods("shard")

    assert f"seconds for that, {shard.spec['terminationGracePeriodSeconds']} by default" in GUIDE
