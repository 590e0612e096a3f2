"""A release of the chart, and a tenant's pods that ask it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pool.kube.api import CORE, RAY, Api
from tests.kube.kit import IMAGE, SMALL, accounted

DAEMON = os.environ.get("WARMPOOL_TEST_IMAGE", "")
CHART = Path(__file__).parents[2] / "deploy" / "chart"
WITHOUT = (
    "needs helm and the daemon's image on the nodes: docker build -f deploy/Dockerfile, named in WARMPOOL_TEST_IMAGE"
)


NEEDS = pytest.mark.skipif(not DAEMON or not shutil.which("helm"), reason=WITHOUT)

TASK = """
import os, time, pool, sys
asked = dict(image=sys.argv[1], tenant=sys.argv[2], holder=os.uname().nodename, shape=eval(sys.argv[3]))
with pool.lease(**asked, progress=lambda told: print("waits", told.phase, flush=True)) as lease:
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
    """A release of the chart in a namespace of its own.

    Attributes:
        lasting: whether its state is on a volume that outlives it, and not in its pod.
        extra: values beside the usual ones.
    """

    def __init__(self, api: Api, root: Path, namespace: str, *, lasting: bool = True) -> None:
        self.api, self.namespace, self.tenants = api, namespace, f"{namespace}-tenant"
        self.lasting = lasting
        self.extra: dict[str, Any] = {}
        self._values = root / "values.yaml"
        self._host_path = f"/var/tmp/{namespace}"

    def values(self, **config: Any) -> str:
        """Write the values and return their file."""
        access = {"kubernetes": {"namespaces": [{"match": self.tenants, "tenant": "tests/kube"}]}}
        backend = {"image_pull_policy": "IfNotPresent"}
        # Two tests at a time on one small node: a reset may take longer than it should elsewhere.
        defaults = {"reset_timeout": "60s", **config.pop("defaults", {})}
        repository, _, tag = config.pop("image", DAEMON).rpartition(":")
        said = {
            "image": {"repository": repository, "tag": tag},
            "persistence": {"existingClaim": "state"} if self.lasting else {"enabled": False},
            "clustersOnUninstall": config.pop("uninstall", "keep"),
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
            "config": {
                "access": access,
                "backend": backend,
                "ceiling": {"clusters": 1},
                "defaults": defaults,
                **config,
            },
            **self.extra,
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
            await accounted(self.api, name)
        if self.lasting:
            await self._make_volume()

    async def _make_volume(self) -> None:
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
        uninstall = ("uninstall", "pool", "--namespace", self.namespace, "--ignore-not-found")
        try:
            if self.lasting:
                await helm(*uninstall, "--wait")
                wipe = "import shutil, os; [shutil.rmtree(e.path, 1) for e in os.scandir('/state')]"
                await self._as_root("wipe", wipe)
            else:
                # What is not of the whole Kubernetes goes with the namespaces.
                await helm(*uninstall)
        finally:
            for name in (self.namespace, self.tenants):
                await self.api.delete(f"{CORE}/namespaces/{name}")
            if self.lasting:
                await self.api.delete(f"{CORE}/persistentvolumes/{self.namespace}")

    async def _as_root(self, name: str, code: str) -> None:
        volume = {"name": "state", "persistentVolumeClaim": {"claimName": "state"}}
        container = {"securityContext": {"runAsUser": 0}, "volumeMounts": [{"name": "state", "mountPath": "/state"}]}
        await self.run_once(name, [code], container, {"volumes": [volume]})

    async def on_the_node(self, name: str, code: str, *arguments: str) -> None:
        """Run code as root among the node's processes."""
        privileged = {"securityContext": {"runAsUser": 0, "privileged": True}}
        await self.run_once(name, [code, *arguments], privileged, {"hostPID": True})

    async def run_once(
        self,
        name: str,
        code: list[str],
        of_container: dict[str, Any],
        of_pod: dict[str, Any],
        *,
        namespace: str = "",
        labels: dict[str, str] | None = None,
        bound_s: float = 60,
    ) -> str:
        """Run code in a pod of the daemon's image, in the release's namespace or another; return what it printed."""
        namespace = namespace or self.namespace
        container = {"name": "c", "image": DAEMON, "command": ["python", "-c", *code], **of_container}
        spec = {"restartPolicy": "Never", "containers": [container], **of_pod}
        path = f"{CORE}/namespaces/{namespace}/pods"
        await self.api.create(path, {"metadata": {"name": name, "labels": labels or {}}, "spec": spec})
        await self.until_pod(namespace, name, "Succeeded", bound_s)
        said = await self.said(namespace, name)
        await self.api.delete(f"{path}/{name}")
        return said

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
        await self.pod(name, DAEMON, ["python", "-c", TASK, IMAGE, "tests/kube", repr({"head": SMALL})])

    async def pod(self, name: str, image: str, command: list[str], files: str = "", **env: str) -> None:
        """Start a tenant's pod with a token for the daemon, and with the files of a ConfigMap in ``/files``."""
        url = f"http://pool-warmpool.{self.namespace}.svc:8787"
        token = {"serviceAccountToken": {"audience": "warmpool", "path": "token"}}
        container = {
            "name": "c",
            "image": image,
            "command": command,
            "env": [{"name": key, "value": value} for key, value in {"WARMPOOL_URL": url, **env}.items()],
            "volumeMounts": [
                {"name": "warmpool", "mountPath": "/var/run/secrets/warmpool"},
                {"name": "files", "mountPath": "/files"},
            ],
        }
        spec = {
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [
                {"name": "warmpool", "projected": {"sources": [token]}},
                {"name": "files", "configMap": {"name": files or "none", "optional": True}},
            ],
        }
        await self.api.create(f"{CORE}/namespaces/{self.tenants}/pods", {"metadata": {"name": name}, "spec": spec})

    async def finish(self, name: str) -> None:
        process = await asyncio.create_subprocess_exec(
            "kubectl", "exec", "-n", self.tenants, name, "--",
            "python", "-c", "open('/tmp/done', 'w').close()",
        )  # fmt: skip
        assert await process.wait() == 0, f"{await self.said(self.tenants, name)} {await self.daemon_said()}"
        await self.until_said(name, "released", 20)

    async def daemons(self) -> list[dict[str, Any]]:
        """Return the daemon's pods."""
        selector = "app.kubernetes.io/name=warmpool"
        found = await self.api.get(f"{CORE}/namespaces/{self.namespace}/pods", labelSelector=selector)
        return [dict(item) for item in found["items"] if not item["metadata"].get("deletionTimestamp")]

    async def daemon(self) -> dict[str, Any]:
        """Return the daemon's only pod."""
        (pod,) = await self.daemons()
        return pod

    async def daemon_said(self) -> str:
        names = [pod["metadata"]["name"] for pod in await self.daemons()]
        return "\n".join([await self.said(self.namespace, name) for name in names])

    async def clusters(self) -> list[str]:
        found = await self.api.get(f"{RAY}/namespaces/{self.namespace}/rayclusters")
        return [item["metadata"]["uid"] for item in found["items"]]
