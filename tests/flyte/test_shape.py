from __future__ import annotations

from typing import Any

import flyte
import pytest
from flytekit import PodTemplate, Resources
from flytekitplugins.ray import AutoscalerOptionsConfig, HeadNodeConfig, RayJobConfig, WorkerNodeConfig
from flyteplugins.ray import HeadNodeConfig as Head2
from flyteplugins.ray import RayJobConfig as Config2
from flyteplugins.ray import WorkerNodeConfig as Worker2
from kubernetes.client import V1Container, V1EnvVar, V1PodSpec, V1ResourceRequirements

from pool.core.errors import InvalidKey
from pool.core.key import ClusterKey, key_from
from pool.flyte.shape import Own, shape_of, split


def key(config: Any, own: Own | None = None) -> ClusterKey:
    shape = shape_of(config, own).model_dump(mode="json", exclude_none=True)
    return key_from({"image": "i", "tenant": "p/d", "shape": shape})


def head(**fields: Any) -> RayJobConfig:
    return RayJobConfig(worker_node_config=[], head_node_config=HeadNodeConfig(**fields))


def pod(container: str = "ray-head", **fields: Any) -> PodTemplate:
    resources = V1ResourceRequirements(
        requests={"cpu": "1"}, limits={"cpu": "3", "memory": "2Gi", "nvidia.com/gpu": "1"}
    )
    return PodTemplate(pod_spec=V1PodSpec(containers=[V1Container(name=container, resources=resources)], **fields))


def test_limits_size_a_node_as_kuberay_does() -> None:
    shape = key(head(requests=Resources(cpu="1", mem="1Gi"), limits=Resources(cpu="2", mem="4Gi"))).shape
    assert (shape.head.milli_cpu, shape.head.memory_bytes) == (2000, 4 * 2**30)


def test_requests_size_a_node_that_has_no_limits() -> None:
    shape = key(head(requests=Resources(cpu="500m", mem="1Gi", gpu="1"))).shape
    assert (shape.head.milli_cpu, shape.head.memory_bytes, shape.head.gpu) == (500, 2**30, 1)
    assert not shape.head.pod


def test_what_ray_start_is_told_wins_over_the_container() -> None:
    params = {"num-cpus": "6", "num-gpus": "0", "object-store-memory": "100000000", "resources": '{"ssd": 2}'}
    node = key(head(limits=Resources(cpu="2", gpu="1"), ray_start_params=params)).shape.head
    assert (node.milli_cpu, node.gpu, node.object_store_bytes, node.custom) == (6000, 0, 100_000_000, (("ssd", 2.0),))


@pytest.mark.parametrize("text", ['{"ssd": 1}', "'{\"ssd\": 1}'", '"{\\"ssd\\": 1}"'])
def test_custom_resources_are_read_however_they_are_quoted(text: str) -> None:
    assert key(head(ray_start_params={"resources": text})).shape.head.custom == (("ssd", 1.0),)


def test_custom_resources_that_are_none_are_refused_by_name() -> None:
    with pytest.raises(InvalidKey, match=r"head_node_config\.ray_start_params\.resources"):
        key(head(ray_start_params={"resources": "ssd=1"}))


def test_other_start_parameters_stay_and_block_does_not_matter() -> None:
    params = {"log-color": "True", "dashboard-host": "0.0.0.0"}
    one, other = key(head(ray_start_params=params)), key(head(ray_start_params=params | {"block": "true"}))
    assert dict(one.shape.head.start_params) == params
    assert one.digest == other.digest


def test_two_ways_to_write_one_shape_give_one_key() -> None:
    one = key(head(requests=Resources(cpu=2, mem="1024Mi"), limits=Resources(cpu="2000m", mem="1Gi")))
    other = key(head(limits=Resources(cpu="2", mem=str(2**30))))
    assert one.digest == other.digest


def test_requests_below_the_limits_make_another_key() -> None:
    limits = Resources(cpu="2", mem="1Gi")
    one, other = key(head(limits=limits)), key(head(requests=Resources(cpu="1"), limits=limits))
    assert one.shape.head.milli_cpu == other.shape.head.milli_cpu
    assert one.digest != other.digest


def test_a_pod_templates_resources_are_resources_and_the_rest_is_rights() -> None:
    shape = key(head(pod_template=pod(service_account_name="reader"))).shape
    assert (shape.head.milli_cpu, shape.head.memory_bytes, shape.head.gpu) == (3000, 2 * 2**30, 1)
    assert '"serviceAccountName":"reader"' in shape.head.pod
    assert '"requests":{"cpu":"1"}' in shape.head.pod


def test_other_rights_never_share_a_key() -> None:
    digests = {key(head(pod_template=pod(service_account_name=name))).digest for name in ("reader", "writer")}
    assert len(digests) == 2


def test_making_a_shape_leaves_the_authors_template_alone() -> None:
    template = pod()
    key(head(pod_template=template))
    assert template.pod_spec.containers[0].resources.limits["cpu"] == "3"


def test_environment_variables_of_a_template_are_part_of_the_key() -> None:
    template = pod()
    template.pod_spec.containers[0].env = [V1EnvVar(name="A", value="1")]
    assert '"env":[{"name":"A","value":"1"}]' in key(head(pod_template=template)).shape.head.pod


def test_without_autoscaling_the_bounds_of_workers_do_not_matter() -> None:
    one = RayJobConfig(worker_node_config=[WorkerNodeConfig("w", 2)])
    other = RayJobConfig(worker_node_config=[WorkerNodeConfig("w", 2, min_replicas=0, max_replicas=9)])
    assert key(one).digest == key(other).digest


def test_with_autoscaling_unset_bounds_are_the_replicas_and_set_ones_count() -> None:
    options = AutoscalerOptionsConfig(idle_timeout_seconds=60, requests=Resources(cpu="500m"))
    workers = [WorkerNodeConfig("a", 2), WorkerNodeConfig("b", 2, min_replicas=1, max_replicas=5)]
    shape = key(RayJobConfig(workers, enable_autoscaling=True, autoscaler_options=options)).shape
    bounds = {group.name: (group.min_replicas, group.replicas, group.max_replicas) for group in shape.workers}
    assert bounds == {"a": (2, 2, 2), "b": (1, 2, 5)}
    assert '"idle_timeout_seconds":60' in shape.autoscaler_options


def test_what_a_lease_cannot_use_is_not_part_of_the_key() -> None:
    one = RayJobConfig(worker_node_config=[WorkerNodeConfig("w", 1)])
    other = RayJobConfig(
        worker_node_config=[WorkerNodeConfig("w", 1)], runtime_env={"pip": ["x"]}, address="1.2.3.4:5",
        shutdown_after_job_finishes=True, ttl_seconds_after_finished=9,
    )  # fmt: skip
    assert key(one).digest == key(other).digest


def test_a_node_that_the_config_leaves_open_is_sized_like_its_task() -> None:
    own = Own(requests=Resources(cpu="2"), limits=Resources(cpu="4", mem="8Gi"))
    config = RayJobConfig([WorkerNodeConfig("w", 1, limits=Resources(cpu="1"))])
    shape = key(config, own).shape
    assert (shape.head.milli_cpu, shape.head.memory_bytes, shape.workers[0].node.milli_cpu) == (4000, 8 * 2**30, 1000)


def test_secrets_of_the_task_are_part_of_the_key() -> None:
    config = RayJobConfig([])
    digests = {key(config, Own(rights={"secrets": names})).digest for names in ([], ["g/k/"], ["g/l/"])}
    assert len(digests) == 3


def test_a_bad_quantity_is_refused_by_name() -> None:
    with pytest.raises(InvalidKey, match="head"):
        key(head(limits=Resources(cpu="lots")))


def test_flyte_2_gives_the_same_key_for_the_same_cluster() -> None:
    one = RayJobConfig(
        head_node_config=HeadNodeConfig(requests=Resources(cpu="1", mem="2Gi", gpu="1")),
        worker_node_config=[WorkerNodeConfig("w", 2, limits=Resources(cpu="2"))],
    )
    other = Config2(
        head_node_config=Head2(requests=flyte.Resources(cpu="1", memory="2Gi", gpu=1)),
        worker_node_config=[Worker2("w", 2, limits=flyte.Resources(cpu="2"))],
    )
    assert key(one).digest == key(other).digest


def test_flyte_2s_accelerators_and_pairs_are_understood() -> None:
    config = Config2(worker_node_config=[], head_node_config=Head2(requests=flyte.Resources(cpu=1, gpu="A100:2")))
    node = key(config).shape.head
    assert (node.gpu, node.accelerator) == (2, "A100")
    own = Own(*split(flyte.Resources(cpu=(1, 4), memory=("1Gi", "4Gi"), shm="1Gi")))
    open_node = key(Config2(worker_node_config=[]), own).shape.head
    assert (open_node.milli_cpu, open_node.memory_bytes) == (4000, 4 * 2**30)
    assert '"shm":"1Gi"' in open_node.pod
