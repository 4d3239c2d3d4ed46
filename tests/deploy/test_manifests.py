from __future__ import annotations

import json
import subprocess
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

from tests.deploy.chart import (
    DATABASE,
    IMAGE,
    MONITORED,
    OPERATOR_KINDS,
    POSTGRES,
    VARIANTS,
    RenderedChart,
    load_chart,
    to_helm_arguments,
)
from tests.scenarios.processes import COMMAND_DIR
from tools.helm import HELM, KUBECTL, unpack
from tools.manifests import (
    CHART,
    KUBERNETES_VERSION,
    MANIFESTS,
    NAMESPACE,
    RELEASE,
    RenderError,
    render_chart,
    render_manifests,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.deploy.chart import Document

VERSIONS = ["1.30", "1.37"]
"""The oldest Kubernetes that the chart supports, and the newest with a schema."""


@pytest.fixture(autouse=True)
def unpacked_tools() -> None:
    unpack(HELM, KUBECTL)


def run_program(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def validate(document: Document) -> None:
    """Check a document against the schemas of Kubernetes."""
    if document["kind"] not in OPERATOR_KINDS:
        for each in VERSIONS:
            kubernetes_validate.validate(document, each, strict=True)


def get_refusal(values: Document) -> str:
    """Return the error with which Helm rejects these values."""
    with pytest.raises(RenderError) as refused:
        render_chart(*to_helm_arguments(values))
    return str(refused.value)


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_every_object_conforms_to_the_schemas_of_kubernetes(values: Document) -> None:
    documents = load_chart(values).documents

    for document in documents:
        validate(document)
    names = [(each["kind"], each["metadata"]["name"]) for each in documents]
    assert len(names) == len(set(names))
    assert all(len(name) <= 63 for _, name in names)


@pytest.mark.parametrize("store", [{}, POSTGRES], ids=["sqlite", "postgres"])
def test_the_largest_release_fits(store: Document) -> None:
    values = {**IMAGE, **store, "shards": {"count": 300}}

    text = render_chart(*to_helm_arguments(values), release="r" * 53)

    largest = RenderedChart([each for each in yaml.load_all(text, yaml.CSafeLoader) if each])
    assert max(len(each["metadata"]["name"]) for each in largest.documents) <= 63
    (config,) = largest.find_all("ConfigMap")
    assert len(json.dumps(config)) < 2**20  # the limit of Kubernetes for a ConfigMap
    assert "/shards/count" in get_refusal({**values, "shards": {"count": 301}})


def test_a_packaged_chart_is_complete(tmp_path: Path) -> None:
    values = to_helm_arguments({**IMAGE, "monitoring": MONITORED})

    packaged = run_program(HELM, "package", CHART, "--destination", tmp_path)

    assert packaged.returncode == 0, packaged.stderr
    (package,) = tmp_path.iterdir()
    options = ("--namespace", NAMESPACE, "--kube-version", KUBERNETES_VERSION)
    alone = run_program(HELM, "template", RELEASE, package, *options, *values)
    assert alone.stdout == render_chart(*values)


def test_the_chart_names_what_was_tested() -> None:
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    envoy = run_program(COMMAND_DIR / "envoy", "--version").stdout

    assert described["appVersion"] == version("constellation-tv")
    assert f"/{values['envoy']['image'].rpartition(':v')[2]}/" in envoy


def test_helm_finds_nothing_wrong() -> None:
    chosen = run_program(HELM, "lint", "--strict", CHART, *to_helm_arguments(IMAGE))
    unset = run_program(HELM, "lint", CHART)

    assert (chosen.returncode, unset.returncode) == (0, 0)
    assert "[WARNING]" not in chosen.stdout
    assert "image.repository is required" in unset.stderr


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "image.repository is required: build deploy/Dockerfile, push it, and name it"),
        ({**IMAGE, "store": "postgres"}, "postgres.url is required with store=postgres"),
        (
            {**IMAGE, "store": "postgres", "postgres": {"url": DATABASE["url"]}},
            "postgres.existingSecret is required with store=postgres",
        ),
        ({**IMAGE, "federation": {"journal": "postgres"}}, "federation.journal=postgres"),
        (
            {**IMAGE, **POSTGRES, "shards": {"autoscaling": {"enabled": True, "min": 4}}},
            "shards.autoscaling.min is 4, more than shards.autoscaling.max, 3: lower one",
        ),
        ({**IMAGE, "postgres": {"url": "postgresql://me:secret@db/c"}}, "/postgres/url"),
        ({**IMAGE, "postgres": {"url": "postgresql://me@db/c?password=x"}}, "/postgres/url"),
        ({**IMAGE, "shards": {"cuont": 4}}, "'cuont' not allowed"),
        ({**IMAGE, "shards": {"env": {"SHARD_ID": "7"}}}, "invalid propertyName 'SHARD_ID'"),
        ({**IMAGE, "shards": {"env": {"MAX_DEVICES": 7}}}, "/shards/env/MAX_DEVICES"),
        ({**IMAGE, "store": "redis"}, "/store"),
        (
            {**IMAGE, "shards": {"autoscaling": {"enabled": True}}},
            "shards.autoscaling.enabled needs store=postgres",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_wrong_values_are_rejected_by_name(values: Document, said: str) -> None:
    assert said in get_refusal(values)


def test_an_error_never_contains_a_password() -> None:
    assert "hunter2" not in get_refusal(
        {**IMAGE, "postgres": {"url": "postgresql://me:hunter2@db/c"}}
    )


def test_the_schema_knows_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def described(name: str, part: Any) -> Iterator[str]:
        part = {**part, **schema["$defs"].get(part.get("$ref", "").removeprefix("#/$defs/"), {})}
        if "properties" not in part:
            yield name
            return
        assert part["additionalProperties"] is False, name
        for each, inner in part["properties"].items():
            yield from described(f"{name}.{each}", inner)

    def given(name: str, part: Any) -> Iterator[str]:
        if name in leaves or not isinstance(part, dict):
            yield name
            return
        for each, inner in part.items():
            yield from given(f"{name}.{each}", inner)

    assert all("additionalProperties" in each for each in _find_objects(schema))
    leaves = set(described("", schema)) - {".global"}  # Helm's own
    assert set(given("", values)) == leaves


def _find_objects(part: Any) -> Iterator[Document]:
    """Yield every object schema with named properties, at any depth."""
    if isinstance(part, dict):
        if part.get("type") == "object" and "properties" in part:
            yield part
        for inner in part.values():
            yield from _find_objects(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _find_objects(inner)


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_the_notes_name_objects_that_exist(store: str) -> None:
    values = {**IMAGE, **(POSTGRES if store == "postgres" else {})}
    options = ("--namespace", "constellation", "--dry-run=client")

    finished = run_program(
        HELM, "install", "constellation", CHART, *options, *to_helm_arguments(values)
    )

    assert finished.returncode == 0
    notes = finished.stdout.partition("\nNOTES:\n")[2]
    names = {each["metadata"]["name"] for each in load_chart(values).documents}
    for word in notes.split():
        kind, slash, name = word.partition("/")
        if slash and kind in {"service", "statefulset"}:
            assert name in names
    assert f"3 shard(s) on {store}" in notes
    assert "constellation status --address localhost:50051" in notes


def test_plain_manifests_are_fresh() -> None:
    fresh = render_manifests()

    assert fresh.keys() == set(MANIFESTS.rglob("manifests.yaml"))
    for path, text in fresh.items():
        assert path.read_text() == text, "run `.venv/bin/python -m tools.manifests`"


@pytest.mark.parametrize("folder", ["sqlite", "postgres", "migrate"])
def test_kustomize_accepts_the_plain_manifests(folder: str, tmp_path: Path) -> None:
    for file in (MANIFESTS / folder).iterdir():
        text = file.read_text().replace("newTag: 0.1.0", "newTag: chosen")
        (tmp_path / file.name).write_text(text)

    built = run_program(KUBECTL, "kustomize", tmp_path)

    assert built.returncode == 0, built.stderr
    plain = RenderedChart(list(yaml.safe_load_all(built.stdout)))
    for document in plain.documents:
        validate(document)
        assert document["metadata"]["namespace"] == "constellation"
    ours = [pod for pod in plain.iterate_pods() if pod.component != "front"]
    assert ours
    for pod in ours:
        for container in pod.containers:
            assert container["image"] == "registry.example/constellation:chosen"
