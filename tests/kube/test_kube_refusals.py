"""Starts that Kubernetes itself refuses, or that break off: each tells why, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pool.backends.kuberay.backend import KuberayBackend
from pool.core.errors import StartFailed
from pool.core.reasons import Reason
from pool.kube.api import CORE, RAY, Api, ApiError
from tests.kube.kit import cluster_of, small

pytestmark = [pytest.mark.kube, pytest.mark.timeout(120)]

ADMISSION = "/apis/admissionregistration.k8s.io/v1"


async def failure(backend: KuberayBackend) -> StartFailed:
    key = small(workers=0)
    with pytest.raises(StartFailed) as failed:
        await backend.start(cluster_of(key), key, lambda phase: None)
    await backend.stop(cluster_of(key).id)
    return failed.value


@pytest.fixture
async def policy(api: Api, namespace: str) -> AsyncIterator[None]:
    """An admission rule that lets no RayCluster into the namespace."""
    rule = {"apiGroups": ["ray.io"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["rayclusters"]}
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "false", "message": "no clusters on Sundays"}],
    }
    await api.create(f"{ADMISSION}/validatingadmissionpolicies", {"metadata": {"name": namespace}, "spec": spec})
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    binding = {"policyName": namespace, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": here}}
    path = f"{ADMISSION}/validatingadmissionpolicybindings"
    await api.create(path, {"metadata": {"name": namespace}, "spec": binding})
    yield
    await api.delete(f"{path}/{namespace}")
    await api.delete(f"{ADMISSION}/validatingadmissionpolicies/{namespace}")


async def test_an_admission_rule_that_refuses_is_the_reason(
    backend: KuberayBackend, api: Api, namespace: str, policy: None
) -> None:
    # A rule takes a moment to be known to the API server: until then a trial is let in.
    trial = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "trial"}}
    pod = {"spec": {"containers": [{"name": "r", "image": "x"}]}}
    spec = {"headGroupSpec": {"rayStartParams": {}, "template": pod}, "suspend": True}
    path = f"{RAY}/namespaces/{namespace}/rayclusters"
    async with asyncio.timeout(30):
        while True:
            try:
                await api.create(path, {**trial, "spec": spec})
            except ApiError:
                break
            await api.delete(f"{path}/trial")
            await asyncio.sleep(0.2)
    failed = await failure(backend)
    assert failed.reason is Reason.START_FAILED
    assert "an admission rule of the cluster refused it" in failed.detail
    assert "no clusters on Sundays" in failed.detail


def kubeconfig(root: Path, token: str) -> Path:
    """Return a copy of the kubeconfig with another user."""
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    file = root / "kubeconfig"
    file.touch(0o600)
    file.write_text(yaml.safe_dump(config))
    return file


async def test_a_right_that_the_daemon_lacks_is_the_reason(
    backend: KuberayBackend, api: Api, namespace: str, tmp_path: Path
) -> None:
    where = f"{CORE}/namespaces/{namespace}"
    await api.create(f"{where}/serviceaccounts", {"metadata": {"name": "weak"}})
    made = await api.create(f"{where}/serviceaccounts/weak/token", {"spec": {"expirationSeconds": 600}})
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rules = [{"apiGroups": ["ray.io", ""], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
    await api.create(f"{rbac}/roles", {"metadata": {"name": "weak"}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "weak", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "weak"}
    await api.create(f"{rbac}/rolebindings", {"metadata": {"name": "weak"}, "subjects": [subject], "roleRef": role})
    file = kubeconfig(tmp_path, made["status"]["token"])
    weak = KuberayBackend(replace(backend.options, kubeconfig=str(file)))
    await weak.open("0123456789abcdef", lambda cluster_id: f"token-{'x' * 30}", lambda lost: None)
    key = small(workers=0)
    try:
        with pytest.raises(StartFailed) as failed:
            await weak.start(cluster_of(key), key, lambda phase: None)
    finally:
        await weak.close()
    assert "the daemon's account may not create it" in failed.value.detail
    assert made["status"]["token"] not in str(failed.value)
