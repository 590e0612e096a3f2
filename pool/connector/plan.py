"""What is to be done for one attempt of a task: a lease to ask for, and a command to run on its cluster."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

PREFIX = "flyte-connector-"
"""Request ids and job ids of the connector begin so."""
_DIGITS = 24


@dataclass(frozen=True)
class Plan:
    """What to do for one attempt. It travels as the resource meta: it holds no token.

    Attributes:
        id: request id of the lease and id of the job; the same for the same attempt.
        name: of the task, for people.
        image, tenant, shape, holder, group: of the lease.
        command: what a shell is to run.
        environment: what the task's container would have had; the connector's own variables are not among it.
        runtime_env: of the task's RayJob.
        unpacks: the command unpacks code into its working directory, which has to be empty for that.
        hold_s: how long the cluster is kept for the group afterwards; None for the pool's setting.
    """

    id: str
    name: str
    image: str
    tenant: str
    holder: str
    group: str
    shape: Mapping[str, Any]
    command: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    runtime_env: Mapping[str, Any] = field(default_factory=dict, repr=False)
    unpacks: bool = False
    hold_s: float | None = None

    def encode(self) -> bytes:
        """Return it as resource meta."""
        return json.dumps({"plan": asdict(self)}, sort_keys=True).encode()


def id_of(output_prefix: str) -> str:
    """Return the id of the attempt that writes to a prefix: the backend gives each attempt one of its own."""
    return PREFIX + hashlib.sha256(output_prefix.encode()).hexdigest()[:_DIGITS]


def base_of(request_id: str) -> str:
    """Return the id of the attempt that a request id belongs to: it may be a later one of the same attempt."""
    return request_id[: len(PREFIX) + _DIGITS]


def refusal(sentence: str) -> bytes:
    """Return the resource meta of a task that cannot be run: it tells why when the backend asks for its state."""
    return json.dumps({"refused": sentence}).encode()


def decode(meta: bytes) -> Plan | str:
    """Return the plan of a resource meta, or the sentence with which its task was refused.

    Raises:
        ValueError: if it is not of this connector.
    """
    try:
        found = json.loads(meta)
        return str(found["refused"]) if "refused" in found else Plan(**found["plan"])
    except (KeyError, TypeError, ValueError):
        raise ValueError("The resource meta is not of this connector, or of another version of it.") from None
