"""The Grafana dashboards, compared with the metrics of real processes."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.dashboards import (
    FOLDER,
    GRAFANA,
    NAMES,
    read_dashboard,
    read_panels,
    read_queries,
)
from tests.deploy.prometheus import (
    OPERATIONS,
    find_metric_names,
    read_recorded_names,
    read_rules,
    run_promtool,
)
from tests.federation.fleet import (
    get_address,
    make_drama_device,
    push_devices,
    run_federation,
    run_round,
    run_shards,
)
from tests.scraping import scrape_text

if TYPE_CHECKING:
    from pathlib import Path

ADDED_LABELS = {"job", "instance"}
"""Labels that Prometheus adds to every metric it scrapes."""
PROMETHEUS_METRICS = {"ALERTS": {"alertname", "alertstate", "shard_id"}}
KINDS = {"stat", "timeseries", "table", "heatmap"}
ALL_PANELS = [(name, panel) for name in NAMES for panel in read_panels(name)]
WIDTH = 24


def to_test_id(value: object) -> str:
    return str(value["title"]) if isinstance(value, dict) else str(value)


def read_metric_rows() -> dict[str, str]:
    """Return the description of each metric in docs/operations.md."""
    row = re.compile(r"^\| `(constellation_\w+)` \| (.+) \|$", re.MULTILINE)
    return dict(row.findall(OPERATIONS.read_text()))


async def scrape_labels() -> dict[str, set[str]]:
    """Return the labels of every metric of a shard and a federation, by name."""
    async with run_shards(2) as (north, south):
        for number in range(6):
            await push_devices(north, [make_drama_device(number)])
            await push_devices(south, [make_drama_device(10 + number)])
        async with run_federation([get_address(north), get_address(south)]) as federation:
            await run_round(federation)
            texts = [scrape_text(port.metrics) for port in (north.ports, federation.ports)]
    labels: dict[str, set[str]] = {}
    for family in (each for text in texts for each in text_string_to_metric_families(text)):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


async def collect_labels() -> dict[str, set[str]]:
    """Return the labels of every metric: scraped, documented or recorded.

    The documentation is needed because a counter has no label values before its first increment.
    """
    labels = await scrape_labels()
    for name, says in read_metric_rows().items():
        shard = set() if name.startswith("constellation_federation_") else {"shard_id"}
        documented = set(re.findall(r"`([a-z]+)`", says))
        labels[name] = labels.get(name, set()) | shard | documented
    found = {name: each | ADDED_LABELS for name, each in labels.items()}
    found |= {name: {"shard_id", *ADDED_LABELS} for name in read_recorded_names()}
    return {**found, **PROMETHEUS_METRICS, "up": ADDED_LABELS}


def test_there_is_no_other_dashboard() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_keeps_its_address_and_uses_the_chosen_datasource(name: str) -> None:
    board = read_dashboard(name)
    variables = {each["name"]: each for each in board["templating"]["list"]}

    assert board["uid"] == f"constellation-{name}"
    assert variables["datasource"]["type"] == "datasource"
    assert board["description"]
    queried = [
        *read_panels(name),
        *(target for panel in read_panels(name) for target in panel["targets"]),
    ]
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert [each["title"] for each in read_panels(name) if each["datasource"] != chosen] == []
    assert all(each["datasource"] == chosen for each in queried)


@pytest.mark.parametrize(("name", "panel"), ALL_PANELS, ids=to_test_id)
def test_a_panel_says_what_it_shows(name: str, panel: dict[str, Any]) -> None:
    assert panel["type"] in KINDS, name
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


@pytest.mark.parametrize("name", NAMES)
def test_panels_do_not_overlap_and_have_unique_numbers(name: str) -> None:
    every = read_dashboard(name)["panels"]
    positions = [panel["gridPos"] for panel in every]

    assert [
        (a, b)
        for a, b in combinations(positions, 2)
        if a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"]
        if a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]
    ] == []
    assert all(at["x"] >= 0 and at["x"] + at["w"] <= WIDTH for at in positions)
    assert len({panel["id"] for panel in every}) == len(every)


@pytest.mark.parametrize("name", NAMES)
async def test_prometheus_accepts_every_expression(name: str, tmp_path: Path) -> None:
    records = [
        {"record": f"asked:{number}", "expr": each.expression}
        for number, each in enumerate(read_queries(name))
    ]
    rules = tmp_path / "asked.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": name, "rules": records}]}))

    finished = await run_promtool("check", "rules", rules)

    assert finished.status == 0, finished.out + finished.err
    assert f"{len(records)} rules found" in finished.out


async def test_every_metric_and_label_exists() -> None:
    labels = await collect_labels()
    every = [each for name in NAMES for each in read_queries(name)]

    unknown = [
        (it.source, name) for it in every for name in find_metric_names(it.expression) - {*labels}
    ]
    wrong = [
        (it.source, f"{metric}{{{label}}}")
        for it in every
        for metric, label, _, _ in it.matchers
        if label not in labels[metric] | {"le"}
    ]
    ungrouped = [
        (it.source, label)
        for it in every
        for label in it.grouping_labels - {"le"}
        if not any(
            label in labels[name]
            for name in find_metric_names(it.expression) | get_metric_names(it.matchers)
        )
    ]

    assert (unknown, wrong, ungrouped) == ([], [], [])


def get_metric_names(matchers: list[tuple[str, str, str, str]]) -> set[str]:
    return {metric for metric, _, _, _ in matchers}


def test_every_scraped_metric_and_every_recorded_one_is_used() -> None:
    """A metric that no dashboard or alert uses should not exist."""
    read = [it.expression for name in NAMES for it in read_queries(name)]
    read += [rule["expr"] for rule in read_rules()]

    used = {name for expression in read for name in find_metric_names(expression)}

    series = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    assert (read_metric_rows().keys() | read_recorded_names()) - series - used == set()


@pytest.mark.parametrize("name", NAMES)
def test_the_variables_list_existing_label_values(name: str) -> None:
    queries = {
        each["name"]: each["query"]["query"]
        for each in read_dashboard(name)["templating"]["list"]
        if each["type"] == "query"
    }

    expected = {
        "federation": {"instance": "label_values(constellation_federation_health, instance)"},
        "fleet": {"shard_id": "label_values(constellation_shard_health, shard_id)"},
        "shard": {"shard_id": "label_values(constellation_shard_health, shard_id)"},
    }
    assert queries == expected[name]


def test_the_provisioning_files_of_grafana_match() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    (provider,) = yaml.safe_load(
        (GRAFANA / "provisioning/dashboards/constellation.yaml").read_text()
    )["providers"]
    compose = yaml.safe_load((GRAFANA.parent / "compose/compose.yaml").read_text())
    prometheus = yaml.safe_load((GRAFANA.parent / "prometheus/prometheus.yml").read_text())
    mounted = compose["services"]["grafana"]["volumes"]

    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    assert f"../grafana/dashboards:{provider['options']['path']}:ro" in mounted
