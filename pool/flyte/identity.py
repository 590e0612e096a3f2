"""Who asks, on whose behalf, with which image: derived from where Flyte says the task runs."""

from __future__ import annotations

import hashlib
import os
import uuid
from dataclasses import dataclass, replace

from pool.core.errors import InvalidKey

LOCAL_IMAGE = "local"
LOCAL_TENANT = "local/development"
_process_group = f"local-{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks for a lease.

    Attributes:
        local: not on a Flyte backend: in the author's own process.
        image: what the cluster's nodes must run.
        tenant: project and domain.
        holder: the execution's task attempt, for people to read.
        group: the workflow execution or run.
        attempt_id: the same for every container of one attempt; empty locally, where nothing is ever run again.
    """

    local: bool
    image: str
    tenant: str
    holder: str
    group: str
    attempt_id: str = ""

    def with_group(self, group: str) -> Identity:
        """Return the same with another group, unless `group` is empty."""
        return replace(self, group=group) if group else self


def local_identity(task: str, run: str = "") -> Identity:
    """Return the identity of a task in the author's own process.

    All tasks of one process are one group (Flyte calls every local execution "local"), so that a whole
    ``pyflyte run`` likes one cluster. ``WARMPOOL_GROUP``, ``WARMPOOL_IMAGE`` and ``WARMPOOL_TENANT`` override.
    """
    group = os.environ.get("WARMPOOL_GROUP") or run or _process_group
    return Identity(
        local=True,
        image=os.environ.get("WARMPOOL_IMAGE") or LOCAL_IMAGE,
        tenant=os.environ.get("WARMPOOL_TENANT") or LOCAL_TENANT,
        holder=_clip(f"{os.environ.get('USER') or 'local'}/{os.getpid()}/{task}"),
        group=_clip(group),
    )


def remote_identity(
    *, project: str, domain: str, execution: str, task: str, attempt: str, place: str, image: str = ""
) -> Identity:
    """Return the identity of a task on a Flyte backend.

    Args:
        project: of the workflow execution or run.
        domain: of the same.
        execution: its name.
        task: its name.
        attempt: its number.
        place: what tells this node of the execution from others that run the same task: the action's name, or the
            prefix of its outputs.
        image: the task's image; ``WARMPOOL_IMAGE``, then ``FLYTE_INTERNAL_IMAGE`` if empty.

    Raises:
        InvalidKey: if no image is known.
    """
    image = os.environ.get("WARMPOOL_IMAGE") or image or os.environ.get("FLYTE_INTERNAL_IMAGE") or ""
    if not image:
        raise InvalidKey(
            f"key.image: the image of task {task} is not known.",
            remedy="Set WARMPOOL_IMAGE, or FLYTE_INTERNAL_IMAGE, in the task's environment.",
        )
    tenant = f"{project}/{domain}"
    index = _map_index()
    digest = hashlib.sha256("\n".join((tenant, execution, task, place, attempt, index)).encode()).hexdigest()[:24]
    return Identity(
        local=False,
        image=image,
        tenant=tenant,
        holder=_clip(f"{tenant}/{execution}/{task}{f'[{index}]' if index else ''}/{attempt}"),
        group=_clip(f"{tenant}/{execution}"),
        attempt_id=f"flyte-{digest}",
    )


def request_id(identity: Identity, nth: int) -> str:
    """Return the request id of the `nth` time (from 1) that this process asks for this attempt.

    A container that was started again for the same attempt asks the same things in the same order, and so gets the
    lease that its predecessor left. Locally every ask is new: a request id never grants again after its lease ended.
    """
    return f"{identity.attempt_id}-{nth}" if identity.attempt_id else fresh_id()


def fresh_id() -> str:
    """Return a request id that was never used."""
    return f"flyte-{uuid.uuid4().hex}"


def _map_index() -> str:
    """Return which element of a map task this is, or an empty string."""
    variable = os.environ.get("BATCH_JOB_ARRAY_INDEX_VAR_NAME")
    if not variable:
        return ""
    return str(int(os.environ.get("BATCH_JOB_ARRAY_INDEX_OFFSET", "0")) + int(os.environ.get(variable, "0")))


def _clip(text: str) -> str:
    """Return `text` as the API takes it: at most 512 characters, none of them control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)[:512]
