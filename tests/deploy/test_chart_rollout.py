from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.deploy.chart import DATABASE, POSTGRES, load_chart

if TYPE_CHECKING:
    from tests.deploy.chart import Document

AUTOSCALED = {**POSTGRES, "shards": {"autoscaling": {"enabled": True, "min": 2, "max": 4}}}


def get_rollout_limits(deployment: Document) -> tuple[int, int]:
    """Return how many pods a rollout may have more, and fewer, than the wanted number."""
    replicas: int = deployment["spec"]["replicas"]
    limits: dict[str, Any] = deployment["spec"]["strategy"]["rollingUpdate"]

    def to_pod_count(name: str) -> int:
        return replicas * int(limits[name].removesuffix("%")) // 100

    return to_pod_count("maxSurge"), to_pod_count("maxUnavailable")


@pytest.mark.parametrize("spares", [0, 1, 3])
def test_a_rollout_does_not_wait_for_processes_that_wait_for_a_lease(spares: int) -> None:
    rendered = load_chart({**POSTGRES, "shards": {"spares": spares}})
    waiting = [
        each for each in rendered.find_all("Deployment") if "front" not in each["metadata"]["name"]
    ]

    for deployment in waiting:
        replicas = deployment["spec"]["replicas"]
        surge, unavailable = get_rollout_limits(deployment)
        assert surge == replicas  # all new pods start before an old one ends
        assert replicas - unavailable == 0  # no new pod can be ready before that
    assert [
        each["spec"]["replicas"] for each in waiting if "-shard-" in each["metadata"]["name"]
    ] == [1 + spares] * 3


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("store", [{}, POSTGRES], ids=["sqlite", "postgres"])
def test_one_shard_at_a_time_may_be_evicted(store: Document, count: int) -> None:
    rendered = load_chart({**store, "shards": {"count": count}})

    budget = rendered.find_one("PodDisruptionBudget", "constellation-shard")["spec"]

    serving = count  # only one process of each shard is ready
    assert serving - budget["minAvailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"  # spares never block it
    wanted = budget["selector"]["matchLabels"].items()
    assert all(wanted <= pod.labels.items() for pod in rendered.iterate_pods("shard"))
    assert not any(
        wanted <= pod.labels.items() for pod in rendered.iterate_pods("front", "federation")
    )


def test_the_processes_of_one_shard_spread_over_machines() -> None:
    for pod in load_chart(POSTGRES).iterate_pods("shard"):
        spread = {each["topologyKey"]: each for each in pod.spec["topologySpreadConstraints"]}
        machines = spread["kubernetes.io/hostname"]

        assert machines["whenUnsatisfiable"] == "DoNotSchedule"
        assert machines["labelSelector"]["matchLabels"] == pod.labels
        assert spread.keys() == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


def test_embedded_shards_spread_where_they_can() -> None:
    (pod,) = load_chart({}).iterate_pods("shard")

    for each in pod.spec["topologySpreadConstraints"]:
        assert each["whenUnsatisfiable"] == "ScheduleAnyway"  # a volume may leave no choice
        assert each["labelSelector"]["matchLabels"].items() <= pod.labels.items()


def test_the_number_of_processes_follows_the_streams_of_each_shard() -> None:
    rendered = load_chart(AUTOSCALED)
    scalers = rendered.find_all("HorizontalPodAutoscaler")

    assert len(scalers) == 3
    for shard, scaler in enumerate(scalers):
        spec = scaler["spec"]
        (metric,) = spec["metrics"]
        target = rendered.find_one("Deployment", spec["scaleTargetRef"]["name"])
        (pod,) = (
            pod for pod in rendered.iterate_pods("shard") if pod.name == target["metadata"]["name"]
        )
        assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 4)
        assert "replicas" not in target["spec"]  # otherwise each upgrade would reset it
        assert metric["external"]["metric"] == {
            "name": "constellation_streams_active",
            "selector": {"matchLabels": {"shard_id": pod.environment["SHARD_ID"]}},
        }
        assert pod.environment["SHARD_ID"] == str(shard)
        window = spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"]
        assert window > pod.spec["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("values", [{}, POSTGRES], ids=["sqlite", "postgres"])
def test_nothing_scales_automatically_by_default(values: Document) -> None:
    assert not load_chart(values).find_all("HorizontalPodAutoscaler")


def test_the_schema_is_migrated_before_the_programs_change() -> None:
    rendered = load_chart({**POSTGRES, "shards": {"env": {"VECTOR_EXTENSION": "ruvector"}}})
    (job,) = rendered.find_all("Job")
    (policy,) = (
        each for each in rendered.find_all("NetworkPolicy") if "migrate" in str(each["metadata"])
    )
    (pod,) = rendered.iterate_pods("migrate")
    hooks = [each["metadata"]["annotations"] for each in (policy, job)]

    assert pod.main_container["command"] == ["constellation", "migrate"]
    assert pod.environment["VECTOR_EXTENSION"] == "ruvector"  # the schema depends on it
    assert pod.spec["serviceAccountName"] == "default"  # no other account exists yet
    assert [each["helm.sh/hook"] for each in hooks] == ["pre-install,pre-upgrade"] * 2
    assert int(hooks[0]["helm.sh/hook-weight"]) < int(hooks[1]["helm.sh/hook-weight"])


def test_the_migration_can_be_disabled() -> None:
    values = {**POSTGRES, "postgres": {**DATABASE, "migrate": False}}

    assert not list(load_chart(values).iterate_pods("migrate"))


def test_a_front_door_that_ends_first_leaves_its_service() -> None:
    (pod,) = load_chart({}).iterate_pods("front")

    pause = pod.main_container["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert 0 < pause < pod.spec["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("values", [{}, POSTGRES], ids=["sqlite", "postgres"])
def test_a_new_chart_version_alone_restarts_nothing(values: Document) -> None:
    for pod in load_chart(values).iterate_pods():
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & pod.labels.keys()
