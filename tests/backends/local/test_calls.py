"""What a short process of the clusters' Python asks of Ray's gRPC services."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from pool.backends.local.calls import Calls
from pool.backends.local.commands import node_managers, starts
from pool.backends.local.options import LocalOptions
from pool.backends.local.trail import Files, NodeStart, Ports, Trail
from pool.backends.rayapi.dashboard import DashboardError
from pool.backends.rayapi.inside import Swept
from pool.core.errors import StartFailed
from pool.core.reasons import Reason
from pool.inside.tables import KEEP_S

from .conftest import make_key


class FakeRay(grpc.GenericRpcHandler):
    """Answers as a GCS and a node manager, with or without asking for a token."""

    def __init__(self, *, asks: bool) -> None:
        self.asks = asks
        self.requests: list[tuple[str, bytes]] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def handle(request: bytes, context: grpc.ServicerContext) -> bytes:
            given = dict(context.invocation_metadata())
            if self.asks and given.get("authorization") != "Bearer secret":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "token is missing")
            self.requests.append((details.method, request))
            return b""

        return grpc.unary_unary_rpc_method_handler(handle)


def serve(ray: FakeRay) -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((ray,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@pytest.fixture
def ray(request: pytest.FixtureRequest) -> FakeRay:
    return FakeRay(asks=getattr(request, "param", True))


@pytest.fixture
def calls(ray: FakeRay, tmp_path: Path) -> Iterator[Calls]:
    files = Files(tmp_path)
    files.write_token("secret")
    for port in serve(ray):
        node = NodeStart("head", ("ray", "start", "--num-cpus=3", f"--node-manager-port={port}"), 1)
        trail = Trail("s1", "c1", "d", "/nowhere", Ports(port, 2, 3, 4), (node,), "claim", 1.0, 1.0)
        yield Calls(files, trail, LocalOptions())


async def test_a_gcs_that_refuses_strangers_is_fine(calls: Calls, ray: FakeRay) -> None:
    await calls.check_strangers()
    assert ray.requests == []


@pytest.mark.parametrize("ray", [False], indirect=True)
async def test_a_gcs_that_answers_strangers_is_an_open_cluster(calls: Calls) -> None:
    with pytest.raises(StartFailed, match="GCS answered a call without its token") as failed:
        await calls.check_strangers()
    assert failed.value.reason is Reason.OPEN_CLUSTER


async def test_a_python_without_grpc_is_not_taken_for_a_cluster_that_refuses(calls: Calls) -> None:
    calls._options = LocalOptions(python="/bin/false")
    with pytest.raises(StartFailed, match="could not be seen"):
        await calls.check_strangers()


async def test_workers_are_asked_for_with_the_token_and_up_to_the_nodes_cpus(calls: Calls, ray: FakeRay) -> None:
    assert await calls.prestart_workers(idle=1)
    [(method, sent)] = ray.requests
    assert method == "/ray.rpc.NodeManagerService/PrestartWorkers"
    messages = pytest.importorskip("ray.core.generated.node_manager_pb2", reason="pip install 'warmpool[local]'")
    request = messages.PrestartWorkersRequest.FromString(sent)
    assert (request.num_workers, request.keep_alive_duration_secs, request.language) == (2, KEEP_S, 0)
    assert request.runtime_env_info.serialized_runtime_env == "{}"
    assert await calls.prestart_workers(idle=3)
    assert len(ray.requests) == 1


async def test_a_sweep_asks_for_actors_and_groups_and_sees_the_object_stores_empty(calls: Calls, ray: FakeRay) -> None:
    assert await calls.sweep(False) == Swept((), ())
    asked = [method.rpartition("/")[2] for method, _ in ray.requests]
    assert asked == ["GetAllActorInfo", "GetAllPlacementGroup", "GetAllNodeInfo"]
    ray.requests.clear()
    # What the owners of resident data have stays.
    await calls.sweep(True)
    assert len(ray.requests) == 2


async def test_a_sweep_that_is_refused_says_so(calls: Calls) -> None:
    calls._files.token.write_text("wrong")
    with pytest.raises(DashboardError, match="the sweep of the cluster failed: UNAUTHENTICATED: token is missing"):
        await calls.sweep(False)


async def test_a_ray_that_cannot_start_workers_ahead_is_left_alone(calls: Calls) -> None:
    calls._files.token.write_text("wrong")
    assert not await calls.prestart_workers(idle=0)


def test_every_node_tells_its_cpus_and_the_port_of_its_node_manager() -> None:
    key = make_key(2, workers=[{"name": "w", "cpu": 1, "replicas": 2}])
    nodes = starts(key.shape, Ports(1, 2, 3, 4), iter(range(100, 200)), "/t", LocalOptions())
    trail = Trail("s1", "c1", "d", "/nowhere", Ports(1, 2, 3, 4), nodes, "claim", 1.0, 1.0)
    assert node_managers(trail) == [(2, 103), (1, 109), (1, 115)]
