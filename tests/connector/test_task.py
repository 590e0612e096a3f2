"""From a backend's request to a plan."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from pool.client import LeaseRequest, NotAllowed
from pool.connector.errors import Refused
from pool.connector.plan import PREFIX, Plan, decode, refusal
from pool.connector.run import RESET_S, Run
from pool.connector.status import Phase, Tools
from pool.connector.task import plan_of
from tests.connector.requests import recorded1, recorded2


def test_flyte_1s_request_becomes_the_lease_that_its_ray_job_describes() -> None:
    plan = plan_of(recorded1())
    assert (plan.image, plan.tenant) == ("docker.io/library/flytetask:1", "flytesnacks/development")
    assert plan.group == "flytesnacks/development/r3"
    assert plan.holder == "flytesnacks/development/r3/n2/chain.step/0"
    node = {"cpu": "1", "memory": "4Gi", "pod": {"requests": {"cpu": "200m", "memory": "1Gi"}}}
    shape = dict(plan.shape)
    assert {name: shape["head"][name] for name in node} == node
    [worker] = shape["workers"]
    assert {name: worker[name] for name in ("name", "replicas", *node)} == {"name": "w", "replicas": 1, **node}


def test_the_command_is_the_line_that_flytes_own_plugin_gives_to_a_shell() -> None:
    plan = plan_of(recorded1())
    assert plan.command.startswith("pyflyte-fast-execute --additional-distribution s3://")
    assert '--prev-checkpoint "" --resolver' in plan.command
    assert plan.unpacks


def test_the_variables_that_flyte_puts_into_pods_are_derived() -> None:
    environment = plan_of(recorded1()).environment
    assert environment == {
        "FLYTE_INTERNAL_EXECUTION_ID": "r3",
        "FLYTE_INTERNAL_EXECUTION_PROJECT": "flytesnacks",
        "FLYTE_INTERNAL_EXECUTION_DOMAIN": "development",
        "FLYTE_INTERNAL_EXECUTION_WORKFLOW": "flytesnacks:development:chain-chain",
        "FLYTE_ATTEMPT_NUMBER": "0",
        "FLYTE_INTERNAL_TASK_PROJECT": "flytesnacks",
        "FLYTE_INTERNAL_TASK_DOMAIN": "development",
        "FLYTE_INTERNAL_TASK_NAME": "chain.step",
        "FLYTE_INTERNAL_TASK_VERSION": "hfLA4j-SG-xvQG-DPDzkBA",
    }


def test_flyte_2s_request_gets_what_its_backend_left_to_be_filled_in() -> None:
    plan = plan_of(recorded2())
    assert "--run-name rnlfzkx95x8rvvfd24jq --name 6dzwxlu707bn4dvl3tbu9hijx " in plan.command
    # The SDK takes this for the epoch: the request does not say when the run began.
    assert "--run-start-time {{.runStartTime}}" in plan.command
    assert plan.environment["RUN_NAME"] == "rnlfzkx95x8rvvfd24jq"
    assert plan.environment["_U_ORG_NAME"] == "local"
    assert plan.tenant == "flytesnacks/development"
    assert plan.unpacks


def test_both_flytes_ask_for_the_same_shape() -> None:
    assert plan_of(recorded1()).shape == plan_of(recorded2()).shape


def test_the_same_attempt_has_the_same_id_and_the_next_one_another() -> None:
    request = recorded1()
    first = plan_of(request)
    assert plan_of(recorded1()) == first
    assert first.id.startswith(PREFIX)
    request.output_prefix = request.output_prefix.removesuffix("0") + "1"
    assert plan_of(request).id != first.id


def test_a_plan_survives_as_resource_meta() -> None:
    plan = plan_of(recorded1())
    assert decode(plan.encode()) == plan
    assert decode(refusal("No.")) == "No."
    for strange in (b"", b"{}", b"[]", b"\xff", json.dumps({"plan": {"id": "x"}}).encode()):
        with pytest.raises(ValueError, match="not of this connector"):
            decode(strange)


def test_labels_and_annotations_of_an_author_reach_every_pod_and_bookkeeping_does_not() -> None:
    request = recorded1()
    request.task_execution_metadata.labels["team"] = "vision"
    request.task_execution_metadata.annotations["scrape"] = "yes"
    shape = plan_of(request).shape
    for node in (shape["head"], *shape["workers"]):
        assert node["pod"]["labels"] == {"team": "vision"}
        assert node["pod"]["annotations"] == {"scrape": "yes"}
        assert node["memory"] == "4Gi"


def test_the_service_account_is_the_clusters() -> None:
    request = recorded1()
    request.task_execution_metadata.k8s_service_account = "reader"
    shape = plan_of(request).shape
    assert shape["head"]["pod"]["service_account"] == "reader"


def test_the_tasks_runtime_env_is_the_jobs() -> None:
    request = recorded1()
    request.template.custom["runtimeEnvYaml"] = "env_vars: {A: b}\npip: [numpy]\n"
    assert plan_of(request).runtime_env == {"env_vars": {"A": "b"}, "pip": ["numpy"]}


@pytest.mark.parametrize(
    ("scope", "group"), [("RUN", "flytesnacks/development/rnlfzkx95x8rvvfd24jq"), ("GLOBAL", "environment/rayenv")]
)
def test_a_reuse_policy_says_for_whom_and_how_long_the_cluster_is_kept(scope: str, group: str) -> None:
    assert plan_of(recorded2()).hold_s is None
    request = recorded2()
    policy = request.template.reuse_policy
    policy.max_replicas = policy.min_replicas = policy.concurrency = 1
    policy.idle_ttl.FromSeconds(90)
    policy.scope = policy.Scope.Value(scope)
    plan = plan_of(request)
    assert (plan.hold_s, plan.group) == (90.0, group)
    assert decode(plan.encode()) == plan
    policy.max_replicas = 2
    with pytest.raises(Refused, match="replicas=1"):
        plan_of(request)


async def test_the_hold_of_a_plan_is_asked_for_with_its_lease() -> None:
    asked: list[LeaseRequest] = []

    class Refusing:
        async def acquire(self, request: LeaseRequest, **_: Any) -> None:
            asked.append(request)
            raise NotAllowed("no")

    nothing: Any = None
    client: Any = Refusing()
    run = Run(replace(plan_of(recorded2()), hold_s=90.0), Tools(client, nothing, nothing, dict))
    assert (await run.settled(10)).phase is Phase.FAILED
    assert [request.hold_s for request in asked] == [90.0]


class Queue:
    """Lets who asks wait, until it refuses."""

    def __init__(self) -> None:
        self.refuses = asyncio.Event()

    async def acquire(self, request: LeaseRequest, **_: Any) -> None:
        await self.refuses.wait()
        raise NotAllowed("no")


async def test_the_first_answer_is_held_while_a_cluster_is_waited_for_as_long_as_a_reset_takes() -> None:
    nothing: Any = None
    queue: Any = Queue()
    run = Run(plan_of(recorded2()), Tools(queue, nothing, nothing, dict))
    run._say(Phase.WAITING, "All are being reset.", waits=True)
    first = asyncio.create_task(run.settled(60))
    await asyncio.sleep(0)
    assert not first.done()
    queue.refuses.set()
    assert (await first).phase is Phase.FAILED


async def test_later_answers_are_not_held_while_a_cluster_is_waited_for() -> None:
    nothing: Any = None
    queue: Any = Queue()
    run = Run(plan_of(recorded2()), Tools(queue, nothing, nothing, dict))
    run._say(Phase.WAITING, "All are leased.", waits=True)
    assert (await run.settled(0)).waits
    # Held, it would take a minute.
    async with asyncio.timeout(RESET_S / 2):
        assert (await run.settled(60)).waits
    run.leave()


def _secret(request: Any) -> None:
    request.template.security_context.secrets.add(key="k")


def _token(request: Any) -> None:
    request.template.security_context.tokens.add(name="t")


def _iam(request: Any) -> None:
    request.template.security_context.run_as.iam_role = "role"


def _accelerator(request: Any) -> None:
    request.template.extended_resources.gpu_accelerator.device = "nvidia-a100"


def _sidecar(request: Any) -> None:
    request.template.container.data_config.enabled = True


def _no_container(request: Any) -> None:
    request.template.ClearField("container")


def _other_image(request: Any) -> None:
    cluster = request.template.custom["rayCluster"]
    cluster["headGroupSpec"]["k8sPod"]["podSpec"]["containers"][0]["image"] = "another:1"


def _unknown(request: Any) -> None:
    request.template.custom["rayCluster"]["mystery"] = 1


def _working_dir(request: Any) -> None:
    request.template.custom["runtimeEnvYaml"] = "working_dir: s3://b/code.zip"


def _not_filled_in(request: Any) -> None:
    request.template.container.args.append("{{.mystery}}")


def _other_type(request: Any) -> None:
    request.template.type = "dask"


def _named_resource(request: Any) -> None:
    request.template.container.resources.limits.add(name=4, value="1Gi")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_secret, "'k' names no Kubernetes Secret"),
        (_token, "identity provider"),
        (_iam, "IAM role"),
        (_accelerator, "extended_resources"),
        (_sidecar, "sidecar"),
        (_no_container, "no container"),
        (_other_image, "one image"),
        (_unknown, "mystery"),
        (_working_dir, "working_dir"),
        (_not_filled_in, "mystery"),
        (_other_type, "'dask'"),
        (_named_resource, "STORAGE"),
    ],
)
@pytest.mark.parametrize("recorded", [recorded1, recorded2])
def test_what_cannot_be_carried_over_is_refused_with_a_sentence(recorded: Any, change: Any, said: str) -> None:
    request = recorded()
    change(request)
    with pytest.raises(Refused, match=said):
        plan_of(request)


def test_a_pod_template_of_the_task_is_that_of_the_nodes_that_the_ray_job_leaves_open() -> None:
    request = recorded1()
    args = list(request.template.container.args)
    request.template.k8s_pod.primary_container_name = "primary"
    request.template.k8s_pod.pod_spec.update(
        {
            "tolerations": [{"key": "spot", "operator": "Exists"}],
            "containers": [
                {
                    "name": "primary",
                    "image": "task:1",
                    "args": args,
                    "env": [{"name": "A", "value": "b"}],
                    "resources": {"limits": {"cpu": 2}},
                }
            ],
        }
    )
    del request.template.custom.fields["rayCluster"].struct_value.fields["headGroupSpec"]
    plan = plan_of(request)
    assert plan.image == "task:1"
    assert plan.environment["A"] == "b"
    head = plan.shape["head"]
    assert head["cpu"] == 2
    assert head["pod"]["spec"]["tolerations"] == [{"key": "spot", "operator": "Exists"}]


def test_a_plans_repr_shows_no_values_of_variables() -> None:
    request = recorded1()
    request.template.container.env.add(key="PASSWORD", value="hunter2hunter2")
    plan = plan_of(request)
    assert isinstance(plan, Plan)
    assert "hunter2" not in repr(plan)
