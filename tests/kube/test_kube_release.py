"""One release of the chart and who uses it: Flyte tasks in pods, a Flyte backend, a stranger, a laptop.

Its tests share it: it takes a small node half a minute. Each works alone and in any order.

Not every network plugin enforces NetworkPolicies, so who may call the connector is a matter of certificates here, and
of the policy where it is seen to hold.
"""

from __future__ import annotations

import asyncio
import base64
import re
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from flyteidl.core import literals_pb2

from pool.client import AsyncClient
from pool.client.outside import port_forward
from pool.kube.api import CORE, Api
from tests.connector.requests import request1
from tests.kube.connecting import a_store, backend, in_pods, said, store_of, with_connector, with_store
from tests.kube.flyte import MODULE, MODULE_2, RUN_2, TASK_IMAGE, WITHOUT, deck, output, run
from tests.kube.kit import IMAGE, SMALL
from tests.kube.release import NEEDS, Release

pytestmark = [
    pytest.mark.kube,
    pytest.mark.flyte,
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("release"),
    NEEDS,
    pytest.mark.skipif(not TASK_IMAGE, reason=WITHOUT),
]

DRIVER = """
import ray, sys
ray.init(sys.argv[1], logging_level="warning")
print("got", ray.get(ray.remote(lambda: 6 * 7).remote()))
"""


# As a tenant's pod that found out where the connector is, and has a certificate of its own making.
STRANGER = """
import json, pathlib, socket
import grpc
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc

given = json.loads(pathlib.Path("/files/given.json").read_text())

def connects(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError:
        return False
    return True

def answered(channel):
    with channel:
        try:
            agent_pb2_grpc.AgentMetadataServiceStub(channel).ListAgents(agent_pb2.ListAgentsRequest(), timeout=5)
        except grpc.RpcError as error:
            return error.code().name
    return "OK"

pair = [given["certificates"][f"stranger.{end}"].encode() for end in ("key", "crt")]
ca = given["certificates"]["ca.crt"].encode()
host, port = given["address"].rsplit(":", 1)
print("found", json.dumps({
    # Nobody may scrape it here: who connects to this port is held up by no policy.
    "policy_holds": not connects(given["pod"], 8001),
    "connects": connects(host, int(port)),
    "answers": {
        "plain": answered(grpc.insecure_channel(given["address"])),
        "no certificate": answered(grpc.secure_channel(given["address"], grpc.ssl_channel_credentials(ca))),
        "foreign": answered(grpc.secure_channel(given["address"], grpc.ssl_channel_credentials(ca, *pair))),
    },
}))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the certificates are."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def standing(home: Path) -> Iterator[tuple[Release, str]]:
    """A release that outlives a test, and the address of its connector."""

    async def install() -> tuple[Release, str]:
        api = await Api.connect()
        made = Release(api, home, f"warmpool-test-{uuid.uuid4().hex[:6]}", lasting=False)
        await made.prepare()
        address = await with_connector(made, home, template=with_store(store_of(made)))
        await api.close()
        return made, address

    async def clear(made: Release) -> None:
        made.api = await Api.connect()
        await made.clear()
        await made.api.close()

    release, address = asyncio.run(install())
    yield release, address
    asyncio.run(clear(release))


@pytest.fixture
def release(standing: tuple[Release, str], api: Api) -> Release:
    standing[0].api = api
    return standing[0]


@pytest.fixture
def address(standing: tuple[Release, str]) -> str:
    """Of the connector."""
    return standing[1]


@asynccontextmanager
async def forwarded(command: str, count: int = 1) -> AsyncIterator[list[str]]:
    """Run a port-forward with free ports of this machine; yield their addresses in the order of the command."""
    # The command as it is told takes the same port here: two tests at once could not.
    words = [f":{word}" if word.isdecimal() else word for word in command.split()]
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None
    found: list[str] = []
    try:
        async with asyncio.timeout(30):
            while len(found) < count:
                line = (await process.stdout.readline()).decode()
                assert line, "the port-forward ended"
                found += re.findall(r"Forwarding from (127\.0\.0\.1:\d+)", line)
        yield found
    finally:
        process.terminate()
        await process.wait()


async def test_flyte_1s_recorded_task_runs_on_a_leased_raycluster_and_the_next_attempt_finds_it_warm(
    release: Release, address: str, tmp_path: Path
) -> None:
    store, volume = tmp_path / "store", store_of(release)
    requests = [in_pods(request1(store, attempt), store) for attempt in ("0", "1")]
    async with a_store(release, volume):
        first, second = await backend(release, store, address, requests, volume, bound_s=180)
    for attempt in (first, second):
        assert attempt["phase"] == "SUCCEEDED", attempt
        assert attempt["about"]["how"] == "warm_interpreter", attempt
        made = literals_pb2.LiteralMap.FromString(base64.b64decode(attempt["outputs"])).literals
        assert {name: one.scalar.primitive.integer for name, one in made.items()} == {"o0": 46}
    assert first["about"]["outcome"] == "cold"
    # It is asked for while the cluster is still being looked at after the first.
    assert second["about"]["outcome"] in ("hit", "waited")
    assert second["about"]["cluster"] == first["about"]["cluster"]
    assert second["about"]["runner"] == first["about"]["runner"]
    assert len(await release.clusters()) == 1


async def test_a_tenants_pod_gets_no_answer_of_the_connector(release: Release, address: str, home: Path) -> None:
    selector = "app.kubernetes.io/name=warmpool-connector"
    pods = await release.api.get(f"{CORE}/namespaces/{release.namespace}/pods", labelSelector=selector)
    given = {
        "address": address,
        "pod": pods["items"][0]["status"]["podIP"],
        "certificates": {name: (home / name).read_text() for name in ("ca.crt", "stranger.key", "stranger.crt")},
    }
    found = await said(release, "stranger", STRANGER, given, {}, namespace=release.tenants)
    assert set(found["answers"].values()) <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}, found
    assert found["connects"] is not found["policy_holds"], found


async def test_tasks_of_an_execution_run_on_one_leased_cluster_whichever_flyte_and_fail_as_they_should(
    release: Release,
) -> None:
    code = {"metadata": {"name": "code"}, "data": {"chain.py": MODULE, "chain2.py": MODULE_2}}
    await release.api.create(f"{CORE}/namespaces/{release.tenants}/configmaps", code)
    first, cold = await run(release, "first", "where")
    (node, cluster, _) = output(first)
    assert cold["outcome"] == "cold"
    assert "Waited for a cluster to start" in deck(first)
    failed, record = await run(release, "second", "broken")
    assert "the body is broken" in failed.split("failed ", 1)[1]
    assert record["outcome"] == "hit"
    assert record["lease"] in deck(failed)
    assert f"{cluster.removeprefix('c-')}-head-svc.{release.namespace}.svc:8265" in deck(failed)
    # What Flyte 2 starts in a pod has the same key and the same group here.
    third, record = await run(release, "third", "where", RUN_2)
    assert output(third) == [node, cluster, "True"]
    assert record["outcome"] == "hit"
    assert record["lease"] in deck(third)


async def test_from_outside_a_lease_and_its_dashboard_are_reached_as_the_client_tells(
    release: Release, tmp_path: Path
) -> None:
    daemon = (await release.daemon())["metadata"]["name"]
    # The token of clients on a laptop, which an operator hands out.
    process = await asyncio.create_subprocess_exec(
        "kubectl", "exec", "-n", release.namespace, daemon, "--", "cat", "/var/lib/warmpool/client.token",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    token = (await process.communicate())[0].decode().strip()
    async with forwarded(f"kubectl port-forward -n {release.namespace} service/pool-warmpool 8787") as (here,):
        client = AsyncClient(f"http://{here}", token)
        async with client, client.lease(image=IMAGE, tenant="tests/kube", holder="me", shape={"head": SMALL}) as lease:
            access = lease.cluster
            assert access.dashboard_url.endswith(f"-head-svc.{release.namespace}.svc:8265")
            command = port_forward(access.client_address, access.dashboard_url)
            async with forwarded(command, 2) as (ray_client, dashboard), aiohttp.ClientSession() as http:
                async with http.get(f"http://{dashboard}/api/version") as refused:
                    assert refused.status == 401
                proof = {"Authorization": f"Bearer {access.token}"}
                async with http.get(f"http://{dashboard}/api/version", headers=proof) as answer:
                    assert (await answer.json())["ray_version"] == access.ray_version
                driver = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", DRIVER, f"ray://{ray_client}", env=lease.environment(), cwd=tmp_path,
                    stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
                )  # fmt: skip
                said = (await driver.communicate())[0].decode()
                assert "got 42" in said, said
