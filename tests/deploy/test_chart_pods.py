"""The pods that the chart makes, and what stands around them, as helm renders it: no cluster is asked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[2] / "deploy" / "chart"
SHARED = ("--set", "postgres.urlSecret.name=s", "--set", "replicas=2")
ALL = (
    *SHARED,
    *("--set", "clustersOnUninstall=delete", "--set", "connector.enabled=true"),
    *("--set-json", 'connector.from=[{"podSelector": {"matchLabels": {"app": "flyte"}}}]'),
)

pytestmark = pytest.mark.skipif(not shutil.which("helm"), reason="needs helm: https://helm.sh/docs/intro/install")


def made(*settings: str) -> list[dict[str, Any]]:
    command = ["helm", "template", "x", str(CHART), "-n", "n", "--kube-version", "1.30", *settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def of_kind(kind: str, *settings: str) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in made(*settings) if item["kind"] == kind}


def pods(*settings: str) -> dict[str, dict[str, Any]]:
    """Return the spec of every pod that the chart makes, hooks included, by who makes it."""
    found = {}
    for item in made(*settings):
        name = f"{item['kind']} {item['metadata']['name']}"
        if item["kind"] == "Pod":
            found[name] = item["spec"]
        elif item["kind"] in ("Deployment", "Job"):
            found[name] = item["spec"]["template"]["spec"]
    return found


def test_every_pod_runs_as_nobody_on_a_file_system_that_it_cannot_write() -> None:
    found = pods(*ALL)
    assert set(found) == {
        "Deployment x-warmpool",
        "Deployment x-warmpool-connector",
        "Job x-warmpool-uninstall",
        "Pod x-warmpool-test",
    }
    for name, spec in found.items():
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["requests"], name


@pytest.mark.parametrize("settings", [(), SHARED], ids=["SQLite", "PostgreSQL"])
def test_the_service_the_budget_and_the_network_policy_select_the_daemons_pods(settings: tuple[str, ...]) -> None:
    labels = of_kind("Deployment", *settings)["x-warmpool"]["spec"]["template"]["metadata"]["labels"]
    budget = of_kind("PodDisruptionBudget", *settings)["x-warmpool"]["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    # One replica alone may always be moved: a budget that forbids it would hold up a node's draining for ever.
    assert budget["maxUnavailable"] == 1
    policy = of_kind("NetworkPolicy", *settings)["x-warmpool"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"port": "http"}]]
    selector = of_kind("Service", *settings)["x-warmpool"]["spec"]["selector"]
    role = selector.pop("warmpool.io/role", "")
    assert selector.items() <= labels.items()
    # The daemon puts this label on its pod itself.
    assert (role, "warmpool.io/role" in labels) == ("writer" if settings else "", False)


def test_state_is_kept_on_a_volume_that_outlives_the_release_unless_it_is_in_postgresql() -> None:
    (claim,) = of_kind("PersistentVolumeClaim").values()
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert of_kind("PersistentVolumeClaim", *SHARED) == {}
    assert of_kind("PersistentVolumeClaim", "--set", "persistence.existingClaim=mine") == {}


def test_what_is_not_wanted_is_not_made() -> None:
    off = [
        word
        for name in ("networkPolicy", "podDisruptionBudget", "dashboard")
        for word in ("--set", f"{name}.enabled=false")
    ]
    assert not {"NetworkPolicy", "PodDisruptionBudget"} & {item["kind"] for item in made(*off)}
    assert "x-warmpool-dashboard" not in of_kind("ConfigMap", *off)
