from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.deploy.chart import MONITORED, OPERATOR_KINDS, POSTGRES, RenderedChart, load_chart
from tools.manifests import DEPLOY

if TYPE_CHECKING:
    from tests.deploy.chart import Document

PROMETHEUS = DEPLOY / "prometheus"
DASHBOARDS = DEPLOY / "grafana" / "dashboards"
RULE_KEYS = {"alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"}
GROUP_KEYS = {"name", "interval", "query_offset", "limit", "labels", "rules"}


def render_monitored(**values: Any) -> RenderedChart:
    return load_chart({**values, "monitoring": MONITORED})


def read_yaml(name: str) -> Any:
    return yaml.safe_load((PROMETHEUS / name).read_text())


@pytest.mark.parametrize("values", [{}, POSTGRES], ids=["sqlite", "postgres"])
def test_each_process_is_scraped_once_under_the_job_name_of_the_alerts(values: Document) -> None:
    rendered = render_monitored(**values)
    jobs = {each["job_name"] for each in read_yaml("prometheus.yml")["scrape_configs"]}
    measured: list[str] = []

    for monitor in rendered.find_all("ServiceMonitor"):
        (endpoint,) = monitor["spec"]["endpoints"]
        (relabeling,) = endpoint["relabelings"]
        assert relabeling["targetLabel"] == "job"
        assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["constellation"]}
        jobs.remove(relabeling["replacement"])
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        for service in rendered.find_all("Service"):
            names = [port["name"] for port in service["spec"]["ports"]]
            if wanted <= service["metadata"]["labels"].items() and endpoint["port"] in names:
                measured += [pod.name for pod in rendered.select_pods(service)]

    assert not jobs
    assert sorted(measured) == sorted(
        pod.name
        for pod in rendered.iterate_pods("shard", "federation")
        for _ in [pod.ports["metrics"]]
    )


def test_waiting_processes_are_scraped() -> None:
    shards = render_monitored(**POSTGRES).find_one("Service", "constellation-shards")

    assert shards["spec"]["publishNotReadyAddresses"] is True


def test_the_alerts_are_those_of_the_file() -> None:
    (rule,) = render_monitored().find_all("PrometheusRule")
    committed = (PROMETHEUS / "constellation.rules.yaml").read_text()
    assert "runbook_url: docs/" in committed

    found = yaml.safe_dump(rule["spec"]).replace(f"{MONITORED['runbookBase']}/docs/", "docs/")

    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    assert yaml.safe_load(found) == yaml.safe_load(committed)


def test_every_alert_links_to_its_runbook() -> None:
    (rule,) = render_monitored().find_all("PrometheusRule")
    pages = [
        (each["alert"], each["annotations"]["runbook_url"])
        for group in rule["spec"]["groups"]
        for each in group["rules"]
        if "alert" in each
    ]

    assert pages
    for alert, page in pages:
        assert page == f"{MONITORED['runbookBase']}/docs/runbooks/{alert}.md"


def test_the_operator_accepts_every_key_of_the_rules() -> None:
    (rule,) = render_monitored().find_all("PrometheusRule")

    for group in rule["spec"]["groups"]:
        assert group.keys() <= GROUP_KEYS
        for each in group["rules"]:
            assert each.keys() <= RULE_KEYS
            assert re.fullmatch(r"\d+[smhd]", each.get("for", "0s"))


def test_monitors_and_rules_have_the_labels_that_prometheus_selects_by() -> None:
    for kind in OPERATOR_KINDS:
        for each in render_monitored().find_all(kind):
            assert each["metadata"]["labels"]["release"] == "prometheus"


def test_a_component_that_is_disabled_has_no_monitor() -> None:
    rendered = render_monitored(federation={"enabled": False})

    assert [each["metadata"]["name"] for each in rendered.find_all("ServiceMonitor")] == [
        "constellation-shard"
    ]
    (rule,) = rendered.find_all("PrometheusRule")
    expressions = [each["expr"] for group in rule["spec"]["groups"] for each in group["rules"]]
    absent = [each for each in expressions if re.search(r"\babsent\(", each)]
    assert absent == ['absent(up{job="constellation-shard"})']  # or it always fires


def test_each_dashboard_is_a_config_map_for_grafana() -> None:
    found = {
        file: json.loads(text)
        for each in render_monitored().find_all("ConfigMap")
        if each["metadata"]["labels"].get("grafana_dashboard") == "1"
        for file, text in each["data"].items()
    }

    assert found == {file.name: json.loads(file.read_text()) for file in DASHBOARDS.glob("*.json")}


def test_without_monitoring_the_chart_has_no_object_of_the_operator() -> None:
    assert not OPERATOR_KINDS & {each["kind"] for each in load_chart({}).documents}
