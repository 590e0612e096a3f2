"""From what a Flyte backend sends for a task to the plan of its attempt. Pure.

Flyte 1 and Flyte 2 send the same in all that matters here. Neither sends what its own Ray plugin puts into each pod:
that is derived from the request's ids, or is the operator's to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from pool.connector.errors import Refused
from pool.connector.plan import Plan, id_of
from pool.connector.rayjob import pod_template, ray_job, requests_and_limits, runtime_env_of, shape_of_job
from pool.connector.secrets import with_secrets
from pool.flyte.shape import Own

TASK_TYPE = "ray"

# What the backends put on every pod of theirs, for their own books. It is of one execution, and a cluster serves many.
_BOOKS = frozenset(
    (
        *("domain", "execution-id", "interruptible", "node-id", "project", "shard-key", "task-name", "workflow-name"),
        *("action", "attempt", "organization", "run"),
    )
)
_BOOKS_PREFIX = "flyte.org/"
# Flyte 2's SDK takes a start time that was not rendered for the epoch.
_LEFT = frozenset(("runStartTime",))
_PLACEHOLDER = re.compile(r"\{\{\s*\.(\w+)\s*\}\}")
_UNPACKING = ("pyflyte-fast-execute", "--tgz", "--pkl")


def plan_of(request: Any) -> Plan:
    """Return what to do for a `CreateTaskRequest` of Flyte 1 or 2.

    Raises:
        Refused: if something of the task cannot be carried over to a leased cluster, saying what.
        InvalidKey: if its resources cannot be understood, naming the field.
    """
    template, given = request.template, request.task_execution_metadata
    if template.type != TASK_TYPE:
        raise Refused(f"The task type {template.type!r} is not run here: only {TASK_TYPE!r} is.")
    if not request.output_prefix:
        raise Refused("The request has no output prefix: there is nothing to tell the attempt by.")
    _refuse_what_stays_behind(template, request)
    ids = given.task_execution_id
    node, execution = ids.node_execution_id, ids.node_execution_id.execution_id
    if not (execution.project and execution.domain and execution.name):
        raise Refused("The request does not say of which execution the task is.")
    tenant = f"{execution.project}/{execution.domain}"
    container = _container(template, given)
    job = ray_job(template.custom)
    labels = {name: value for name, value in given.labels.items() if not _is_bookkeeping(name)}
    own = Own(
        requests=container.requests,
        limits=container.limits,
        pod_template=_own_template(template, given, labels),
        rights={"service_account": _service_account(template, given)},
    )
    shape = shape_of_job(job, container.image, own, labels, given.annotations)
    task = template.id.name
    environment = {**container.env, **dict(given.environment_variables), **_internal(template, given)}
    hold_s, group = _reuse(template)
    command = _command(container.command, {"runName": execution.name, "actionName": node.node_id})
    return Plan(
        id=id_of(request.output_prefix),
        name=f"{task} of {execution.name}/{node.node_id}, attempt {ids.retry_attempt}",
        image=container.image,
        tenant=tenant,
        holder=_clip(f"{tenant}/{execution.name}/{node.node_id}/{task}/{ids.retry_attempt}"),
        group=_clip(group or f"{tenant}/{execution.name}"),
        shape=with_secrets(shape.model_dump(mode="json", exclude_none=True), template.security_context.secrets),
        command=command,
        environment=environment,
        runtime_env=runtime_env_of(job),
        unpacks=any(word in container.command for word in _UNPACKING),
        hold_s=hold_s,
    )


def _refuse_what_stays_behind(template: Any, request: Any) -> None:
    """Refuse what Flyte does to the pods of its own, which a leased cluster never sees.

    Raises:
        Refused: naming it.
    """
    security = template.security_context
    if security.tokens:
        raise Refused("security_context: a token of an identity provider is Flyte's to give.")
    identity = request.task_execution_metadata.identity
    if security.run_as.iam_role or identity.iam_role:
        raise Refused("security_context: an IAM role is Flyte's to give; use a service account that has it.")
    extended = [template.extended_resources]
    overrides = getattr(request.task_execution_metadata, "overrides", None)
    if overrides is not None:
        extended.append(overrides.extended_resources)
    if any(one.ByteSize() for one in extended):
        raise Refused("extended_resources: an accelerator or shared memory is put into pods by Flyte alone.")
    if getattr(request, "connection", None) is not None and request.connection.ByteSize():
        raise Refused("connection: connections are for connectors to services, and a Ray task has none.")


def _reuse(template: Any) -> tuple[float | None, str]:
    """Return what Flyte 2's `ReusePolicy` says, as `pool.flyte.reuse` does: a hold in seconds, and whom it is for.

    That is None where there is none, and a group where it is not the execution alone.

    Raises:
        Refused: if a leased cluster cannot be reused as it says.
    """
    if "reuse_policy" not in template.DESCRIPTOR.fields_by_name or not template.HasField("reuse_policy"):
        return None, ""
    policy = template.reuse_policy
    if policy.max_replicas > 1 or policy.concurrency > 1:
        raise Refused("reuse_policy: a task leases one cluster, for itself; write replicas=1 and concurrency=1.")
    hold_s = policy.idle_ttl.ToTimedelta().total_seconds() if policy.HasField("idle_ttl") else None
    # The SDK names a task by its environment and its function.
    environment = template.id.name.partition(".")[0]
    return hold_s, f"environment/{environment}" if policy.scope == policy.GLOBAL else ""


def _container(template: Any, given: Any) -> Any:
    """Return image, command, env and resources of the task's main container, as one thing.

    Raises:
        Refused: if it has none, or has its data copied by a sidecar.
    """
    kind = template.WhichOneof("target")
    if kind == "container":
        source = template.container
        if source.data_config.enabled:
            raise Refused("container.data_config: a leased cluster has no sidecar that copies data.")
        requests, limits = requests_and_limits(source.resources)
        image, words = source.image, [*source.command, *source.args]
        env = {pair.key: pair.value for pair in source.env}
    elif kind == "k8s_pod":
        main = _main_of(template.k8s_pod)
        image, words = main.get("image", ""), [*main.get("command", []), *main.get("args", [])]
        env = {}
        for pair in main.get("env", []):
            if "value" not in pair:
                raise Refused(f"k8s_pod: variable {pair.get('name')} takes its value from elsewhere.")
            env[pair["name"]] = pair["value"]
        requests = limits = None
    else:
        raise Refused("The task has no container.")
    overrides = getattr(given, "overrides", None)
    if overrides is not None:
        image = overrides.container_image or image
        if overrides.resources.ByteSize():
            requests, limits = requests_and_limits(overrides.resources)
    if not image or not words:
        raise Refused("The task's container has no image or no arguments.")
    return SimpleNamespace(image=image, command=" ".join(words), env=env, requests=requests, limits=limits)


def _main_of(pod: Any) -> dict[str, Any]:
    containers = pod_template(pod).pod_spec.get("containers") or []
    name = pod.primary_container_name
    main = next((one for one in containers if one.get("name") == name), containers[0] if len(containers) == 1 else None)
    if main is None:
        raise Refused(f"k8s_pod: there is no primary container {name!r}.")
    return dict(main)


def _is_bookkeeping(label: str) -> bool:
    return label in _BOOKS or label.startswith(_BOOKS_PREFIX)


def _own_template(template: Any, given: Any, labels: Mapping[str, str]) -> Any:
    """Return the pod template of nodes that the RayJob leaves open, with labels and annotations of the execution.

    Raises:
        Refused: if it is given in a way that is not carried over.
    """
    overrides = getattr(given, "overrides", None)
    if overrides is not None and overrides.HasField("pod_template"):
        raise Refused("overrides: a pod template that is given for one node is not carried over; give it to the task.")
    found: Any = SimpleNamespace(pod_spec={}, labels={}, annotations={}, primary_container_name="")
    if template.WhichOneof("target") == "k8s_pod":
        found = pod_template(template.k8s_pod)
        for one in found.pod_spec.get("containers") or []:
            if one.get("name") == found.primary_container_name or len(found.pod_spec["containers"]) == 1:
                for field in ("image", "command", "args", "env"):
                    one.pop(field, None)
    elif template.metadata.pod_template_name:
        return str(template.metadata.pod_template_name)
    found.labels |= labels
    found.annotations |= dict(given.annotations)
    used = found.pod_spec or found.labels or found.annotations
    return found if used else None


def _service_account(template: Any, given: Any) -> str:
    found: str = (
        template.security_context.run_as.k8s_service_account
        or given.identity.k8s_service_account
        or given.k8s_service_account
    )
    return found


def _internal(template: Any, given: Any) -> dict[str, str]:
    """Return the variables that Flyte puts into each pod of a task."""
    ids, task = given.task_execution_id, template.id
    execution = ids.node_execution_id.execution_id
    found = {
        "FLYTE_INTERNAL_EXECUTION_ID": execution.name,
        "FLYTE_INTERNAL_EXECUTION_PROJECT": execution.project,
        "FLYTE_INTERNAL_EXECUTION_DOMAIN": execution.domain,
        "FLYTE_ATTEMPT_NUMBER": str(ids.retry_attempt),
        "FLYTE_INTERNAL_TASK_PROJECT": task.project,
        "FLYTE_INTERNAL_TASK_DOMAIN": task.domain,
        "FLYTE_INTERNAL_TASK_NAME": task.name,
        "FLYTE_INTERNAL_TASK_VERSION": task.version,
    }
    workflow = given.labels.get("workflow-name", "")
    if workflow:
        found["FLYTE_INTERNAL_EXECUTION_WORKFLOW"] = f"{execution.project}:{execution.domain}:{workflow}"
    return found


def _command(line: str, values: Mapping[str, str]) -> str:
    """Return a command line with what the backend left to be filled in.

    Raises:
        Refused: if it names something that is not known here.
    """

    def filled(match: re.Match[str]) -> str:
        name = match[1]
        if name in values:
            return values[name]
        if name in _LEFT:
            return match[0]
        raise Refused(f"container.args: {match[0]} was not filled in by the backend, and is not known here.")

    return _PLACEHOLDER.sub(filled, line)


def _clip(text: str) -> str:
    """Return `text` as the API takes it: at most 512 characters, none of them control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)[:512]
