"""Who asks a daemon with service accounts' tokens that a real Kubernetes made."""

from __future__ import annotations

import uuid
from typing import Any

import httpx

from pool.kube.api import Api
from tests.serving import Served

RBAC = "/apis/rbac.authorization.k8s.io/v1"
CONFIG = """
listen: 127.0.0.1:0
backend: {{type: simulated, start: 50ms, stop: 10ms, reset: 10ms}}
access:
  kubernetes:
    fresh: 1s
    kept: 5m
    namespaces:
    - {{match: "{prefix}-{{project}}-{{domain}}"}}
    - {{match: "{prefix}-shared", tenant: flyte/shared}}
    trusted:
    - {{namespace: "{prefix}-shared", service_account: connector, tenants: ["vision*/*", "speech*/*"]}}
    operator_groups: ["system:serviceaccounts:{prefix}-ops"]
"""


class Callers:
    """Makes namespaces, service accounts and their tokens, and takes them away again.

    Attributes:
        vision, speech: two tenants, and their namespaces after the prefix.
    """

    def __init__(self, api: Api, prefix: str) -> None:
        self.api, self.prefix = api, prefix
        mark = uuid.uuid4().hex[:6]
        self.vision, self.speech = f"vision{mark}/development", f"speech{mark}/development"
        self._namespaces: set[str] = set()
        self.bindings: list[str] = []

    def _path(self, of: str) -> str:
        return f"/api/v1/namespaces/{self.prefix}-{of.replace('/', '-')}"

    async def token(self, of: str, account: str, audience: str = "warmpool") -> str:
        """Return the token of a new account of a tenant, or of a namespace that is no tenant's."""
        namespace, where = of.replace("/", "-"), self._path(of)
        if namespace not in self._namespaces:
            await self.api.create("/api/v1/namespaces", {"metadata": {"name": f"{self.prefix}-{namespace}"}})
            self._namespaces.add(namespace)
        await self.api.create(f"{where}/serviceaccounts", {"metadata": {"name": account}})
        return await self.another_token(of, account, audience)

    async def another_token(self, of: str, account: str, audience: str = "warmpool") -> str:
        """Return one more token of an account, for the ten minutes that Kubernetes gives at least."""
        where = self._path(of)
        spec = {"audiences": [audience], "expirationSeconds": 600}
        made = await self.api.create(f"{where}/serviceaccounts/{account}/token", {"spec": spec})
        return str(made["status"]["token"])

    async def leaves(self, of: str, account: str) -> None:
        """Delete an account."""
        await self.api.delete(f"{self._path(of)}/serviceaccounts/{account}")

    async def allow(self, namespace: str, account: str, rule: dict[str, Any]) -> None:
        name = f"{self.prefix}-{account}"
        self.bindings.append(name)
        await self.api.create(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": [rule]})
        subject = {"kind": "ServiceAccount", "namespace": f"{self.prefix}-{namespace}", "name": account}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        body = {"metadata": {"name": name}, "subjects": [subject], "roleRef": role}
        await self.api.create(f"{RBAC}/clusterrolebindings", body)

    async def clear(self) -> None:
        for name in self.bindings:
            await self.api.delete(f"{RBAC}/clusterrolebindings/{name}")
            await self.api.delete(f"{RBAC}/clusterroles/{name}")
        for namespace in self._namespaces:
            await self.api.delete(f"/api/v1/namespaces/{self.prefix}-{namespace}")


async def status(
    served: Served, path: str, token: str, body: dict[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    method = "GET" if body is None else "POST"
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http:
        answer = await http.request(method, served.url + path, json=body)
    return answer.status_code, answer.json() if "json" in answer.headers["content-type"] else {}
