"""What is run for a shape, and what its processes may see."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from pool.backends.local.commands import environment, ports_needed, starts
from pool.backends.local.options import LocalOptions
from pool.backends.local.trail import NodeStart, Ports, Trail

from .conftest import make_key

PORTS = Ports(gcs=1, client=2, dashboard=3, metrics=4)


def nodes_of(options: LocalOptions | None = None, **shape: Any) -> tuple[NodeStart, ...]:
    return starts(make_key(**shape).shape, PORTS, iter(count(100)), "/tmp/wp-x", options or LocalOptions())


def environment_of(inherited: Mapping[str, str], options: LocalOptions | None = None) -> dict[str, str]:
    trail = Trail("s1", "c1", "d", "/tmp/wp-x", PORTS, (), "claim", 1.0, 1.0, resident_share=0.25)
    return environment(inherited, trail, Path("/d/token"), options or LocalOptions())


def test_a_head_gets_its_resources_in_rays_own_terms() -> None:
    head = {"cpu": 1.5, "memory": 10**9, "object_store_memory": 2 * 10**8, "custom": {"disk": 2}, "accelerator": "T4"}
    (node,) = nodes_of(head=head)
    assert {"--num-cpus=2", "--memory=1000000000", "--object-store-memory=200000000", "--num-gpus=0"} < {*node.command}
    assert '--resources={"disk": 2.0, "accelerator_type:T4": 1.0}' in node.command


def test_half_a_cpu_becomes_one_and_none_stays_none() -> None:
    assert "--num-cpus=1" in nodes_of(head={"cpu": "500m"})[0].command
    assert "--num-cpus=0" in nodes_of(head={"cpu": 0})[0].command


def test_an_object_store_is_a_share_of_the_nodes_memory_and_at_least_what_ray_takes() -> None:
    assert "--object-store-memory=300000000" in nodes_of(head={"memory": 10**9})[0].command
    assert "--object-store-memory=78643200" in nodes_of(head={"memory": 10**8})[0].command
    assert "--object-store-memory=500000000" in nodes_of(LocalOptions(object_store_bytes=5 * 10**8))[0].command


def test_a_start_parameter_wins_over_the_resources() -> None:
    command = nodes_of(head={"cpu": 4, "start_params": {"num-cpus": "0", "block": "true"}})[0].command
    assert "--num-cpus=0" in command
    assert "--num-cpus=4" not in command


def test_every_replica_is_a_node_of_its_own_with_its_own_ports() -> None:
    nodes = nodes_of(workers=[{"name": "w", "replicas": 2}, {"name": "v"}])
    assert [node.name for node in nodes] == ["head", "v-1", "w-1", "w-2"]
    assert all("--address=127.0.0.1:1" in node.command for node in nodes[1:])
    ports = [part for node in nodes for part in node.command if "port=" in part and "worker" not in part]
    assert (
        len({part.rpartition("=")[2] for part in ports})
        == len(ports)
        == ports_needed(make_key(workers=[{"name": "w", "replicas": 2}, {"name": "v"}]).shape) - 1
    )  # the port of the dashboard's own metrics is a variable


def test_no_secret_and_no_address_of_the_daemons_reaches_a_cluster() -> None:
    inherited = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "WARMPOOL_TOKEN": "secret",
        "RAY_ADDRESS": "elsewhere:1",
        "RAY_AUTH_TOKEN": "theirs",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    env = environment_of(inherited)
    assert env["PATH"].endswith(":/bin")
    assert env["LC_ALL"] == "C"
    assert not {*inherited} - {"PATH", "LC_ALL"} & {*env}
    assert "secret" not in env.values()


def test_a_cluster_is_told_its_pools_share_for_resident_data() -> None:
    assert environment_of({})["WARMPOOL_RESIDENT_SHARE"] == "0.25"


def test_a_clusters_temporary_directory_is_its_own_unless_the_operator_names_another() -> None:
    assert environment_of({"TMPDIR": "/of-the-daemon"})["TMPDIR"] == "/tmp/wp-x/tmp"
    assert environment_of({}, LocalOptions(env={"TMPDIR": "/scratch"}))["TMPDIR"] == "/scratch"


def test_variables_named_by_the_operator_reach_a_cluster() -> None:
    env = environment_of({"MY_DATA": "/data"}, LocalOptions(inherit=("MY_DATA",), env={"MORE": "1"}))
    assert (env["MY_DATA"], env["MORE"]) == ("/data", "1")


def test_the_token_is_passed_as_a_path() -> None:
    env = environment_of({}, LocalOptions(env={"RAY_AUTH_MODE": "disabled"}))
    assert (env["RAY_AUTH_MODE"], env["RAY_AUTH_TOKEN_PATH"]) == ("token", "/d/token")
