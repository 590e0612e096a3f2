"""The chart's connector: what a Flyte backend recorded runs on a leased RayCluster, and nobody else gets through to it.

Not every network plugin enforces NetworkPolicies, so who may call is a matter of certificates here, and of the policy
where it is seen to hold.
"""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from flyteidl.core import literals_pb2

from pool.kube.api import CORE
from tests.connector.requests import request1
from tests.kube.connecting import a_store, backend, in_pods, said, store_of, with_connector, with_store
from tests.kube.release import NEEDS, Release
from tests.kube.test_kube_flyte import TASK_IMAGE, WITHOUT

pytestmark = [
    pytest.mark.kube,
    pytest.mark.flyte,
    pytest.mark.timeout(400),
    NEEDS,
    pytest.mark.skipif(not TASK_IMAGE, reason=WITHOUT),
]

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


async def test_flyte_1s_recorded_task_runs_on_a_leased_raycluster_and_the_next_attempt_finds_it_warm(
    release: Release, tmp_path: Path
) -> None:
    store, volume = tmp_path / "store", store_of(release)
    address = await with_connector(release, tmp_path, template=with_store(volume))
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


async def test_a_tenants_pod_gets_no_answer_of_the_connector(release: Release, tmp_path: Path) -> None:
    address = await with_connector(release, tmp_path)
    selector = "app.kubernetes.io/name=warmpool-connector"
    pods = await release.api.get(f"{CORE}/namespaces/{release.namespace}/pods", labelSelector=selector)
    given = {
        "address": address,
        "pod": pods["items"][0]["status"]["podIP"],
        "certificates": {name: (tmp_path / name).read_text() for name in ("ca.crt", "stranger.key", "stranger.crt")},
    }
    found = await said(release, "stranger", STRANGER, given, {}, namespace=release.tenants)
    assert set(found["answers"].values()) <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}, found
    assert found["connects"] is not found["policy_holds"], found
