"""Two replicas on a real PostgreSQL in the cluster: one writes, the other stands by and takes over."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from typing import Any

import pytest

from pool.kube.api import CORE
from pool.kube.role import LABEL, STANDBY, WRITER, Pod, RoleLabel
from tests.kube.release import CHART, DAEMON, NEEDS, until_it_holds
from tests.kube.test_kube_chart import NEXT, rules

POSTGRES = os.environ.get("WARMPOOL_TEST_POSTGRES_IMAGE", "")
WITHOUT = "needs PostgreSQL's image on the nodes: docker build -f tests/kube/postgres.Dockerfile, named in "

pytestmark = [pytest.mark.kube, pytest.mark.timeout(500), NEEDS]

KILL = """
import os, sys
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        environ = open(f"/proc/{pid}/environ", "rb").read().split(bytes(1))
    except OSError:
        continue
    if ("WARMPOOL_POD_UID=" + sys.argv[1]).encode() in environ:
        os.kill(int(pid), 9)
"""


async def postgres(release: Any) -> None:
    """Start a PostgreSQL beside the release, and put its URL into the Secret `store`."""
    password = "a-password-of-the-tests"
    container = {
        "name": "postgres",
        "image": POSTGRES,
        "env": [{"name": "PASSWORD", "value": password}],
        "readinessProbe": {"tcpSocket": {"port": 5432}, "periodSeconds": 1},
    }
    path = f"{CORE}/namespaces/{release.namespace}/pods"
    await release.api.create(path, {"metadata": {"name": "postgres"}, "spec": {"containers": [container]}})

    async def ready() -> bool:
        found = await release.api.get(f"{path}/postgres")
        return any(c["type"] == "Ready" and c["status"] == "True" for c in found["status"].get("conditions", ()))

    await until_it_holds(ready, 60)
    host = (await release.api.get(f"{path}/postgres"))["status"]["podIP"]
    url = base64.b64encode(f"postgresql://warmpool:{password}@{host}:5432/postgres".encode()).decode()
    secret = {"metadata": {"name": "store"}, "data": {"url": url}}
    await release.api.create(f"{CORE}/namespaces/{release.namespace}/secrets", secret)


async def roles(release: Any) -> dict[str, dict[str, Any]]:
    """Return the daemon's pods by their role, once there is one of each and the Service leads to the writer alone."""
    found: dict[str, dict[str, Any]] = {}

    async def settled() -> bool:
        pods = await release.daemons()
        found.clear()
        found.update({pod["metadata"]["labels"].get(LABEL, ""): pod for pod in pods})
        if len(pods) != 2 or set(found) != {WRITER, STANDBY}:
            return False
        ready = [c["status"] for pod in pods for c in pod["status"].get("conditions", ()) if c["type"] == "Ready"]
        where = f"{CORE}/namespaces/{release.namespace}/endpoints/pool-warmpool"
        led = [a["ip"] for s in (await release.api.get(where)).get("subsets", ()) for a in s.get("addresses", ())]
        return ready == ["True", "True"] and led == [found[WRITER]["status"]["podIP"]]

    try:
        await until_it_holds(settled, 90)
    except TimeoutError:
        raise AssertionError({r: (p["metadata"]["name"], p["status"]["phase"]) for r, p in found.items()}) from None
    return dict(found)


async def taken_over(release: Any, standby: dict[str, Any]) -> float:
    """Return after how many seconds the standby is the writer."""
    began = time.monotonic()
    path = f"{CORE}/namespaces/{release.namespace}/pods/{standby['metadata']['name']}"

    async def writes() -> bool:
        return (await release.api.get(path))["metadata"]["labels"].get(LABEL) == WRITER

    await until_it_holds(writes, 60)
    return time.monotonic() - began


@pytest.mark.skipif(not POSTGRES, reason=WITHOUT + "WARMPOOL_TEST_POSTGRES_IMAGE")
async def test_a_standby_takes_over_and_versions_come_and_go_while_leases_and_waiters_go_on(release):
    await postgres(release)
    release.extra = {"postgres": {"urlSecret": {"name": "store", "key": "url"}}, "replicas": 2}
    await release.install(uninstall="delete")
    assert "Phase:          Succeeded" in await release.helm("test")
    pods = await roles(release)

    await release.task("first")
    await release.until_said("first", "granted")
    await release.task("second")
    await release.until_said("second", "waits")
    cluster = await release.clusters()

    # The pod is gone at once, without a word to its process.
    name = pods[WRITER]["metadata"]["name"]
    force = ("--grace-period=0", "--force", "--wait=false")
    process = await asyncio.create_subprocess_exec("kubectl", "delete", "pod", "-n", release.namespace, name, *force)
    assert await process.wait() == 0
    print(f"deleted: taken over after {await taken_over(release, pods[STANDBY]):.1f} s")
    pods = await roles(release)
    await release.finish("first")
    await release.until_said("second", "granted")
    assert await release.clusters() == cluster

    # Its process is killed on the node, and the kubelet starts it anew in the same pod, where it stands by.
    await release.on_the_node("kill", KILL, pods[WRITER]["metadata"]["uid"])
    print(f"killed: taken over after {await taken_over(release, pods[STANDBY]):.1f} s")
    after = await roles(release)
    assert after[STANDBY]["metadata"]["uid"] == pods[WRITER]["metadata"]["uid"]
    await release.task("third")
    await release.until_pod(release.tenants, "third", "Running")
    await release.finish("second")
    await release.until_said("third", "granted")
    assert await release.clusters() == cluster

    if NEXT:
        await through_the_next_version_and_back(release)
    await release.finish("third")
    if NEXT:
        await release.until_said("fourth", "granted")
        assert await release.clusters() == cluster
        await release.finish("fourth")
    await release.helm("uninstall", "--wait")
    await until_it_holds(lambda: none_left(release), 30)


async def through_the_next_version_and_back(release: Any) -> None:
    """Upgrade to a version that migrates the store, and go back to the first, while somebody waits behind a lease."""
    await release.helm("upgrade", str(CHART), "--wait", "--values", release.values(image=NEXT, uninstall="delete"))
    await roles(release)
    await release.task("fourth")
    await release.until_said("fourth", "waits")
    await release.helm("rollback", "1", "--wait")
    pods = await roles(release)
    assert "which can use it" in await release.said(release.namespace, pods[WRITER]["metadata"]["name"])


async def none_left(release: Any) -> bool:
    return not await release.clusters()


async def test_the_right_to_label_pods_is_what_the_daemon_asks_for_and_is_given_with_postgresql_alone(
    api, namespace, asked
):
    container = {"name": "c", "image": DAEMON, "command": ["sleep", "60"]}
    path = f"{CORE}/namespaces/{namespace}/pods"
    made = await api.create(path, {"metadata": {"name": "mine"}, "spec": {"containers": [container]}})
    asked.clear()
    label = RoleLabel(Pod(namespace, "mine", made["metadata"]["uid"]), type(api).connect)
    try:
        done = asyncio.Event()
        label.standby(done.set)
        await asyncio.wait_for(done.wait(), 20)
        assert asked == {("pods", "patch")}
        label.writer()

        async def writer() -> bool:
            return (await api.get(f"{path}/mine"))["metadata"]["labels"].get(LABEL) == WRITER

        await until_it_holds(writer, 20)
    finally:
        await label.close()
    for settings, given in (
        (("--set", "postgres.urlSecret.name=s"), [[{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]]),
        ((), []),
    ):
        roles = [item for item in await rules(*settings) if item["kind"] == "Role"]
        assert [role["rules"] for role in roles if role["metadata"]["name"].endswith("-role")] == given
