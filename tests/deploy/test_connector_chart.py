"""The connector in the chart, as helm renders it: no cluster is asked."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[2] / "deploy" / "chart"
BACKEND = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "flyte"}}}]
ON = ("--set", "connector.enabled=true", "--set-json", f"connector.from={json.dumps(BACKEND)}")

pytestmark = pytest.mark.skipif(not shutil.which("helm"), reason="needs helm: https://helm.sh/docs/intro/install")


def rendered(*settings: str) -> subprocess.CompletedProcess[str]:
    command = ["helm", "template", "x", str(CHART), "--namespace", "n", "--kube-version", "1.30", *settings]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def made(*settings: str) -> dict[tuple[str, str], Any]:
    done = rendered(*settings)
    assert done.returncode == 0, done.stderr
    items = [item for item in yaml.safe_load_all(done.stdout) if item]
    return {(item["kind"], item["metadata"]["name"]): item for item in items}


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert not [name for _, name in made() if "connector" in name]


def test_it_is_not_made_without_a_word_on_who_may_call_it() -> None:
    done = rendered("--set", "connector.enabled=true")
    assert done.returncode != 0
    assert "/connector/from" in done.stderr


def test_the_backend_alone_may_call_it() -> None:
    policy = made(*ON)["NetworkPolicy", "x-warmpool-connector"]["spec"]
    assert policy["ingress"] == [{"ports": [{"port": "grpc"}], "from": BACKEND}]
    assert policy["policyTypes"] == ["Ingress"]
    pod = made(*ON)["Deployment", "x-warmpool-connector"]["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    # The daemon's own are not meant, nor the other way round.
    daemon = made(*ON)["NetworkPolicy", "x-warmpool"]["spec"]["podSelector"]["matchLabels"]
    assert not daemon.items() <= pod["metadata"]["labels"].items()


def test_it_has_rights_at_the_daemon_and_none_in_kubernetes() -> None:
    items = made(*ON)
    pod = items["Deployment", "x-warmpool-connector"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    account = pod["serviceAccountName"]
    bound = [
        item
        for (kind, _), item in items.items()
        if kind.endswith("RoleBinding") and account in [subject["name"] for subject in item["subjects"]]
    ]
    assert bound == []
    config = yaml.safe_load(items["ConfigMap", "x-warmpool"]["data"]["warmpool.yaml"])
    assert config["access"]["kubernetes"]["trusted"] == [
        {"namespace": "n", "service_account": account, "tenants": ["*"]}
    ]


def test_variables_of_tasks_and_certificates_come_from_secrets() -> None:
    settings = ("--set", "connector.envSecret=storage", "--set", "connector.tlsSecret=tls")
    pod = made(*ON, *settings)["Deployment", "x-warmpool-connector"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert "--env-dir=/etc/warmpool-env" in container["args"]
    assert "--client-ca=/etc/warmpool-tls/ca.crt" in container["args"]
    assert "--trust-network" not in container["args"]
    assert {"storage", "tls"} == {one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one}
    [container] = made(*ON)["Deployment", "x-warmpool-connector"]["spec"]["template"]["spec"]["containers"]
    assert "--trust-network" in container["args"]


def arguments(*settings: str) -> list[str]:
    pod = made(*ON, *settings)["Deployment", "x-warmpool-connector"]["spec"]["template"]["spec"]
    return list(pod["containers"][0]["args"])


def test_how_long_it_holds_an_answer_and_a_task_waits_are_values() -> None:
    assert {"--hold-s=3", "--wait-s=3600"} <= set(arguments())
    set_ = ("--set-json", "connector.holdSeconds=0.5", "--set", "connector.waitSeconds=604800")
    assert {"--hold-s=0.5", "--wait-s=604800"} <= set(arguments(*set_))


def test_tasks_run_as_ray_jobs_where_the_values_say_so() -> None:
    assert "--ray-jobs" not in arguments()
    assert "--ray-jobs" in arguments("--set", "connector.rayJobs=true")


def test_what_tasks_import_is_learned_unless_the_values_say_no() -> None:
    assert "--no-learn" not in arguments()
    assert "--no-learn" in arguments("--set", "connector.learn=false")
