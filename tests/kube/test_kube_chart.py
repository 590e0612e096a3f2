"""The chart on a real cluster: installed, tested, upgraded and rolled back under leases, uninstalled."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pool.kube.api import CORE, RAY, Api
from pool.kube.remove import remove
from tests.kube.kit import IMAGE, SMALL, cluster_of, small

DAEMON = os.environ.get("WARMPOOL_TEST_IMAGE", "")
CHART = Path(__file__).parents[2] / "deploy" / "chart"
WITHOUT = (
    "needs helm and the daemon's image on the nodes: docker build -f deploy/Dockerfile, named in WARMPOOL_TEST_IMAGE"
)

pytestmark = [
    pytest.mark.kube,
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("kube"),
    pytest.mark.skipif(not DAEMON or not shutil.which("helm"), reason=WITHOUT),
]

TASK = """
import os, time, pool, sys
with pool.lease(image=sys.argv[1], tenant=sys.argv[2], holder=os.uname().nodename, shape=eval(sys.argv[3])) as lease:
    print("granted", lease.cluster.id, lease.outcome, flush=True)
    while not os.path.exists("/tmp/done"):
        lease.check()
        time.sleep(0.1)
print("released", flush=True)
"""


async def until_it_holds(look: Callable[[], Awaitable[bool]], bound_s: float) -> None:
    """Ask again and again: neither a pod's log nor a deletion can be waited for.

    Raises:
        TimeoutError: if it does not hold in time.
    """
    async with asyncio.timeout(bound_s):
        while not await look():  # noqa: ASYNC110
            await asyncio.sleep(0.3)


class HelmError(Exception):
    """Helm refused."""


async def helm(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "helm", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise HelmError(out.decode())
    return out.decode()


class Release:
    """A release of the chart in a namespace of its own, on a volume that outlives it."""

    def __init__(self, api: Api, root: Path, namespace: str) -> None:
        self.api, self.namespace, self.tenants = api, namespace, f"{namespace}-tenant"
        self._values = root / "values.yaml"
        self._host_path = f"/var/tmp/{namespace}"

    def values(self, **config: Any) -> str:
        """Write the values and return their file."""
        access = {"kubernetes": {"namespaces": [{"match": self.tenants, "tenant": "tests/kube"}]}}
        backend = {"image_pull_policy": "IfNotPresent"}
        repository, _, tag = DAEMON.rpartition(":")
        said = {
            "image": {"repository": repository, "tag": tag},
            "persistence": {"existingClaim": "state"},
            "clustersOnUninstall": config.pop("uninstall", "keep"),
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
            "config": {"access": access, "backend": backend, "ceiling": {"clusters": 1}, **config},
        }
        self._values.write_text(yaml.safe_dump(said))
        return str(self._values)

    async def helm(self, verb: str, *arguments: str) -> str:
        return await helm(verb, "pool", *arguments, "--namespace", self.namespace, "--timeout", "120s")

    async def install(self, **config: Any) -> None:
        await self.helm("upgrade", str(CHART), "--install", "--wait", "--values", self.values(**config))

    async def prepare(self) -> None:
        for name in (self.namespace, self.tenants):
            await self.api.create(f"{CORE}/namespaces", {"metadata": {"name": name}})
        volume = {
            "metadata": {"name": self.namespace},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": self.namespace,
                "hostPath": {"path": self._host_path, "type": "DirectoryOrCreate"},
            },
        }
        await self.api.create(f"{CORE}/persistentvolumes", volume)
        claim = {
            "metadata": {"name": "state"},
            "spec": {
                "storageClassName": self.namespace,
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
        await self.api.create(f"{CORE}/namespaces/{self.namespace}/persistentvolumeclaims", claim)
        # A volume of a path is root's: other kinds are given to the pod's group when they are mounted.
        await self._as_root("own", "import os; os.chown('/state', 65532, 65532); os.chmod('/state', 0o700)")

    async def clear(self) -> None:
        try:
            await helm("uninstall", "pool", "--namespace", self.namespace, "--ignore-not-found", "--wait")
            await self._as_root("wipe", "import shutil, os; [shutil.rmtree(e.path, 1) for e in os.scandir('/state')]")
        finally:
            for name in (self.namespace, self.tenants):
                await self.api.delete(f"{CORE}/namespaces/{name}")
            await self.api.delete(f"{CORE}/persistentvolumes/{self.namespace}")

    async def _as_root(self, name: str, code: str) -> None:
        container = {
            "name": "c",
            "image": DAEMON,
            "command": ["python", "-c", code],
            "securityContext": {"runAsUser": 0},
            "volumeMounts": [{"name": "state", "mountPath": "/state"}],
        }
        spec = {
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [{"name": "state", "persistentVolumeClaim": {"claimName": "state"}}],
        }
        path = f"{CORE}/namespaces/{self.namespace}/pods"
        await self.api.create(path, {"metadata": {"name": name}, "spec": spec})
        await self.until_pod(self.namespace, name, "Succeeded")
        await self.api.delete(f"{path}/{name}")

    async def until_pod(self, namespace: str, name: str, phase: str, bound_s: float = 60) -> None:
        async def look() -> bool:
            found = await self.api.get(f"{CORE}/namespaces/{namespace}/pods/{name}")
            assert found["status"]["phase"] != "Failed", await self.said(namespace, name)
            return bool(found["status"]["phase"] == phase)

        await until_it_holds(look, bound_s)

    async def said(self, namespace: str, name: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "kubectl", "logs", "-n", namespace, name,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        return out.decode()

    async def until_said(self, name: str, text: str, bound_s: float = 90) -> str:
        said = ""

        async def look() -> bool:
            nonlocal said
            said = await self.said(self.tenants, name)
            return text in said

        try:
            await until_it_holds(look, bound_s)
        except TimeoutError:
            raise AssertionError(f"{name} never said {text!r}, but {said!r}; {await self.daemon_said()}") from None
        return said

    async def task(self, name: str) -> None:
        """Start a tenant's pod that takes a lease and keeps it until `finish`."""
        url = f"http://pool-warmpool.{self.namespace}.svc:8787"
        token = {"serviceAccountToken": {"audience": "warmpool", "path": "token"}}
        container = {
            "name": "c",
            "image": DAEMON,
            "command": ["python", "-c", TASK, IMAGE, "tests/kube", repr({"head": SMALL})],
            "env": [{"name": "WARMPOOL_URL", "value": url}],
            "volumeMounts": [{"name": "warmpool", "mountPath": "/var/run/secrets/warmpool"}],
        }
        spec = {
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [{"name": "warmpool", "projected": {"sources": [token]}}],
        }
        await self.api.create(f"{CORE}/namespaces/{self.tenants}/pods", {"metadata": {"name": name}, "spec": spec})

    async def finish(self, name: str) -> None:
        process = await asyncio.create_subprocess_exec(
            "kubectl", "exec", "-n", self.tenants, name, "--",
            "python", "-c", "open('/tmp/done', 'w').close()",
        )  # fmt: skip
        assert await process.wait() == 0
        await self.until_said(name, "released", 20)

    async def daemon(self) -> dict[str, Any]:
        """Return the daemon's pod."""
        selector = "app.kubernetes.io/name=warmpool"
        found = await self.api.get(f"{CORE}/namespaces/{self.namespace}/pods", labelSelector=selector)
        (pod,) = (item for item in found["items"] if not item["metadata"].get("deletionTimestamp"))
        return dict(pod)

    async def daemon_said(self) -> str:
        return await self.said(self.namespace, (await self.daemon())["metadata"]["name"])

    async def clusters(self) -> list[str]:
        found = await self.api.get(f"{RAY}/namespaces/{self.namespace}/rayclusters")
        return [item["metadata"]["uid"] for item in found["items"]]


@pytest.fixture
async def release(api: Api, tmp_path: Path) -> AsyncIterator[Release]:
    made = Release(api, tmp_path, f"warmpool-test-{uuid.uuid4().hex[:6]}")
    await made.prepare()
    yield made
    await made.clear()


async def test_a_release_lives_through_upgrade_and_rollback_under_leases_and_is_taken_over_by_the_next(release):
    await release.install(reconcile_interval="5s")
    assert "Phase:          Succeeded" in await release.helm("test")

    # A lease, and a waiter behind it, through a restart that the configuration asks for.
    await release.task("first")
    await release.until_said("first", "granted")
    await release.task("second")
    await release.until_pod(release.tenants, "second", "Running")
    before = await release.daemon()
    await release.install(reconcile_interval="4s")
    restarted = await release.daemon()
    assert restarted["metadata"]["uid"] != before["metadata"]["uid"]
    cluster = await release.clusters()
    await release.finish("first")
    await release.until_said("second", "granted")
    assert await release.clusters() == cluster

    # A change that the daemon takes up by itself; an annotation makes the kubelet look at once.
    await release.install(reconcile_interval="4s", defaults={"idle_ttl": "7m"})
    pod = await release.daemon()
    assert pod["metadata"]["uid"] == restarted["metadata"]["uid"]
    touch = {"metadata": {"annotations": {"tests": "look"}}}
    await release.api.patch(f"{CORE}/namespaces/{release.namespace}/pods/{pod['metadata']['name']}", touch)

    async def reloaded() -> bool:
        return "the configuration was reloaded" in await release.daemon_said()

    await until_it_holds(reloaded, 120)

    await release.helm("rollback", "1", "--wait")
    await release.finish("second")

    # Uninstalled with its clusters kept, and installed again: the next daemon takes them over.
    await release.helm("uninstall", "--wait")
    assert await release.clusters() == cluster
    await release.install(uninstall="delete")
    await release.task("third")
    said = await release.until_said("third", "granted")
    assert "hit" in said
    assert await release.clusters() == cluster
    await release.finish("third")
    await release.helm("uninstall", "--wait")

    async def gone() -> bool:
        return not await release.clusters()

    await until_it_holds(gone, 30)


async def test_the_chart_is_linted_and_its_schema_names_what_is_wrong(tmp_path):
    assert "0 chart(s) failed" in await helm("lint", str(CHART), "--strict")
    for setting, said in (
        ("persistance.enabled=false", "persistance"),
        ("clustersOnUninstall=drop", "clustersOnUninstall"),
        ("service.port=http", "port"),
        ("config.state_dir=/tmp", "state_dir"),
        ("config.backend.type=local", "type"),
    ):
        with pytest.raises(HelmError, match=said):
            await helm("template", "x", str(CHART), "--kube-version", "1.30", "--set", setting)


async def rules(*settings: str) -> list[dict[str, Any]]:
    text = await helm("template", "x", str(CHART), "--namespace", "n", "--kube-version", "1.30", *settings)
    return [item for item in yaml.safe_load_all(text) if item]


async def test_a_namespace_takes_a_role_there_and_a_template_of_them_one_for_all():
    for settings, kind, namespace in (
        ((), "Role", "n"),
        (("--set", "config.backend.namespace=rays"), "Role", "rays"),
        (("--set-json", 'config.backend.namespace="{project}-{domain}"'), "ClusterRole", None),
    ):
        (role,) = (
            item
            for item in await rules(*settings)
            if item["kind"].endswith("Role") and "clusters" in str(item["metadata"])
        )
        assert (role["kind"], role["metadata"].get("namespace")) == (kind, namespace)


async def test_what_watches_is_made_where_its_kinds_exist():
    assert not {"ServiceMonitor", "PrometheusRule"} & {item["kind"] for item in await rules()}
    settings = ("--api-versions", "monitoring.coreos.com/v1", "--set", "prometheusRule.runbooks=https://wiki/")
    made = {item["kind"]: item for item in await rules(*settings)}
    alerts = [rule for group in made["PrometheusRule"]["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
    assert all(alert["annotations"]["runbook_url"].startswith("https://wiki/docs/operating.md#") for alert in alerts)
    assert any("{{ $value" in str(alert["annotations"]) for alert in alerts)
    assert made["ServiceMonitor"]["spec"]["endpoints"][0]["port"] == "http"


async def test_the_rights_are_what_the_daemon_asks_for_neither_more_nor_less(backend, api, namespace, monkeypatch):
    asked: set[tuple[str, str]] = set()
    send = Api._send

    async def recorded(self: Api, method: str, path: str, query: dict[str, Any], *rest: Any, **more: Any) -> Any:
        parts = path.split("/")
        at = parts.index("namespaces") if "namespaces" in parts else 1
        resource, named = parts[at + 2], len(parts) > at + 3
        reading = "watch" if query.get("watch") else "get" if named else "list"
        verb = {"GET": reading, "POST": "create", "PATCH": "patch", "DELETE": "delete"}[method]
        asked.add((resource, verb))
        return await send(self, method, path, query, *rest, **more)

    monkeypatch.setattr(Api, "_send", recorded)
    # Two of one store, as when a daemon is killed and the next one begins where it was.
    one, two = (type(backend)(backend.options) for _ in range(2))
    cluster = cluster_of(small(workers=0))
    for each in (one, two):
        await each.open("0123456789abcdef", lambda cluster_id: f"token-of-{cluster_id}-{'x' * 20}", lambda lost: None)
    try:
        started = [each.start(cluster, small(workers=0), lambda phase: None) for each in (one, two)]
        first, second = await asyncio.gather(*started)
        assert first.boot_id == second.boot_id
    finally:
        await one.close()
        await two.close()
    late = type(backend)(backend.options)
    await late.open("0123456789abcdef", lambda cluster_id: f"token-of-{cluster_id}-{'x' * 20}", lambda lost: None)
    try:
        await late.stop(cluster.id)
    finally:
        await late.close()
    (role,) = (item for item in await rules() if item["kind"] == "Role")
    given = {(r, v) for rule in role["rules"] for r in rule["resources"] for v in rule["verbs"]}
    assert asked == given, json.dumps({"missing": sorted(asked - given), "unneeded": sorted(given - asked)})


async def test_what_a_label_takes_is_deleted_and_nothing_else(api, namespace, monkeypatch):
    spec = {
        "headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "r", "image": "x"}]}}}
    }
    path = f"{RAY}/namespaces/{namespace}/rayclusters"
    for name, mark in (("mine", namespace), ("other", "somebody")):
        labels = {"warmpool.io/release": mark}
        body = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": name, "labels": labels}}
        await api.create(path, {**body, "spec": spec})
    assert await remove(f"warmpool.io/release={namespace}") == 1

    async def gone() -> bool:
        return [item["metadata"]["name"] for item in (await api.get(path))["items"]] == ["other"]

    await until_it_holds(gone, 20)
