"""Secrets of a Flyte task on a real RayCluster: where Flyte's SDKs look for them, on every node."""

from __future__ import annotations

import asyncio
import base64

import pytest
from flyteidl.core import security_pb2

from pool.backends.kuberay.backend import KuberayBackend
from pool.connector.secrets import with_secrets
from pool.core.errors import StartFailed
from pool.core.key import ClusterKey, key_from
from pool.kube.api import CORE, Api
from tests.kube.kit import IMAGE, SMALL, cluster_of, submit

pytestmark = [pytest.mark.kube, pytest.mark.timeout(240)]

LOOK = """python -c "
import os, ray
ray.init()
def look():
    with open('/etc/flyte/secrets/info/password') as file:
        return os.environ['_FSEC_INFO_TOKEN'], os.environ['MY_TOKEN'], file.read()
expected = ('of the pods', 'of the pods', 'in a file')
assert look() == expected, look()
assert ray.get(ray.remote(look).remote()) == expected
" """


def key_with(*secrets: security_pb2.Secret) -> ClusterKey:
    shape = with_secrets({"head": dict(SMALL)}, secrets)
    return key_from({"image": IMAGE, "tenant": "tests/kube", "shape": shape})


async def test_a_task_finds_its_secrets_where_flyte_would_have_put_them_and_a_missing_one_is_the_reason(
    backend: KuberayBackend, api: Api, namespace: str
) -> None:
    secret = security_pb2.Secret
    key = key_with(
        secret(group="info", key="token", mount_requirement=secret.ENV_VAR, env_var="MY_TOKEN"),
        secret(group="info", key="Password"),
    )
    missing = key_with(secret(group="info", key="no-such-key", mount_requirement=secret.ENV_VAR))
    no_file = key_with(secret(group="info", key="no-such-file"))
    no_secret = key_with(secret(group="no-such-secret", key="file"))
    data = {"token": "of the pods", "Password": "in a file"}
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in data.items()}
    await api.create(f"{CORE}/namespaces/{namespace}/secrets", {"metadata": {"name": "info"}, "data": encoded})

    started = await backend.start(cluster := cluster_of(key), key, lambda phase: None)
    assert await submit(started.dashboard_url, f"token-of-{cluster.id}-{'x' * 20}", LOOK) == "SUCCEEDED"
    await backend.stop(cluster.id)

    with pytest.raises(StartFailed, match="no-such-key"):
        await backend.start(cluster_of(missing), missing, lambda phase: None)
    # Kubelet warns of a volume within seconds: nothing waits for the end of the time that a start has.
    async with asyncio.timeout(60):
        for key, said in (
            (no_file, "non-existent secret key: no-such-file"),
            (no_secret, '"no-such-secret" not found'),
        ):
            with pytest.raises(StartFailed, match=f"cannot mount: .*{said}"):
                await backend.start(cluster_of(key), key, lambda phase: None)
