"""What a holder asks for, and how the asking goes."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from pool.client.errors import InvalidRequest
from pool.core.model import Mode, Outcome
from pool.core.reasons import Reason
from pool.wire.key import KeySpec, ShapeSpec
from pool.wire.leases import AcquireRequest, GrantAnswer, QueuedAnswer


@dataclass(frozen=True)
class LeaseRequest:
    """Ask for a lease.

    Attributes:
        image: container image, or the name of the local environment.
        tenant: isolation domain: ``project/domain``.
        holder: who will have the lease: an execution's task attempt, say.
        shape: resources of head and workers, as `ShapeSpec` or as the plain data it is made of.
        group: leases of one group like to share a cluster and its data.
        priority: -1000 to 1000; higher is served sooner.
        mode: ``warm_only`` (fail at once unless idle), ``wait`` (start none) or ``wait_or_create``.
        timeout_s: how long to wait altogether.
        ttl_s: the lease expires if not renewed for so long; None for the pool's setting.
        hold_s: hold the cluster for the group so long after the release; None for the pool's setting.
        request_id: a name of this asking, to be able to repeat it; None for a fresh one.
        cluster_type: what is pooled.
    """

    image: str
    tenant: str
    holder: str
    shape: ShapeSpec | Mapping[str, Any] = field(default_factory=ShapeSpec)
    group: str = ""
    priority: int = 0
    mode: str = "wait_or_create"
    timeout_s: float = 600.0
    ttl_s: float | None = None
    hold_s: float | None = None
    request_id: str | None = None
    cluster_type: str = "ray"

    def message(self) -> AcquireRequest:
        """Return the message that asks for this, with a fresh request id if there is none.

        Raises:
            InvalidRequest: naming the first wrong field.
        """
        try:
            shape = self.shape if isinstance(self.shape, ShapeSpec) else ShapeSpec.model_validate(dict(self.shape))
        except ValidationError as error:
            raise invalid(error, "shape") from None
        except (TypeError, ValueError):
            raise InvalidRequest(f"shape: {self.shape!r} is not a mapping.") from None
        try:
            return AcquireRequest(
                request_id=self.request_id if self.request_id is not None else fresh_id(),
                key=KeySpec(image=self.image, tenant=self.tenant, shape=shape, cluster_type=self.cluster_type),
                holder=self.holder,
                group=self.group,
                priority=self.priority,
                mode=Mode(self.mode),
                timeout_s=self.timeout_s,
                ttl_s=self.ttl_s,
                hold_s=self.hold_s,
            )
        except ValidationError as error:
            raise invalid(error) from None
        except ValueError:
            modes = ", ".join(mode.value for mode in Mode)
            raise InvalidRequest(f"mode: {self.mode!r} is not a mode; there are {modes}.") from None


def fresh_id() -> str:
    """Return a request id that was never used."""
    return uuid.uuid4().hex


def make_request(request: LeaseRequest | None, fields: Mapping[str, Any]) -> LeaseRequest:
    """Return `request` with `fields` changed, or one made of `fields` alone.

    Raises:
        InvalidRequest: if a field is unknown or missing.
    """
    known = LeaseRequest.__dataclass_fields__
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise InvalidRequest(f"{unknown[0]}: a lease request has no such field; it has {', '.join(known)}.")
    if request is not None:
        fields = {name: getattr(request, name) for name in known} | dict(fields)
    missing = [name for name in ("image", "tenant", "holder") if name not in fields]
    if missing:
        raise InvalidRequest(f"{missing[0]}: is missing.", remedy=f"Give {', '.join(missing)}.")
    return LeaseRequest(**fields)


_ARM = re.compile(r"int|float|str|(constrained|function|lax|union)-.*|.*\[.*")


def invalid(error: ValidationError, where: str = "") -> InvalidRequest:
    """Return one sentence for the first fault that pydantic found."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # The arms of a union stand in the path as the names of types: they tell a person nothing.
    parts = [str(part) for part in fault["loc"] if not _ARM.fullmatch(str(part))]
    return InvalidRequest(f"{'.'.join([where, *parts]).strip('.')}: {fault['msg']}.")


@dataclass(frozen=True, slots=True)
class Progress:
    """How an acquire goes. ``str()`` says it in one line.

    Attributes:
        phase: ``queued``, a phase of the start it waits for (``starting``, ...), ``granted``, or ``unanswered`` while
            the daemon is away or cannot serve.
        position: 1 for the next one to be served; 0 when granted or unknown.
        reason: why it waits, or why the grant was not a hit; None for a hit.
        explanation: the reason with names and numbers.
        expected_s: until a cluster is expected; None if nothing is known.
        waited_s: so far.
        cluster: id of the granted cluster.
        outcome: of the grant; None while waiting.
    """

    phase: str
    position: int
    reason: Reason | None
    explanation: str
    expected_s: float | None
    waited_s: float
    cluster: str = ""
    outcome: Outcome | None = None

    @classmethod
    def of(cls, answer: GrantAnswer | QueuedAnswer) -> Progress:
        """Return the progress that an answer tells."""
        if isinstance(answer, QueuedAnswer):
            return cls(
                answer.phase or "queued",
                answer.position,
                answer.reason,
                answer.explanation or answer.reason.sentence,
                answer.expected_s,
                answer.waited_s,
            )
        why = answer.explanation or (answer.reason.sentence if answer.reason else "")
        return cls("granted", 0, answer.reason, why, 0.0, answer.waited_s, answer.cluster.id, answer.outcome)

    @classmethod
    def unanswered(cls, cause: str, left_s: float, waited_s: float) -> Progress:
        """Return the progress of an acquire that got no answer because of `cause` and is tried for `left_s` more."""
        said = f"{cause}; trying for {seconds(left_s)} more"
        return cls("unanswered", 0, None, said, None, waited_s)

    def __str__(self) -> str:
        if self.phase == "unanswered":
            return f"the daemon cannot answer: {self.explanation}"
        why = _inner(self.explanation)
        if self.phase == "granted":
            outcome = f": {self.outcome}" if self.outcome else ""
            return f"granted {self.cluster} in {seconds(self.waited_s)}{outcome}" + (f" ({why})" if why else "")
        expected = ""
        if self.expected_s is not None:
            # One that is late is expected in no time.
            expected = f"expected in {seconds(self.expected_s)}" if self.expected_s > 0 else "expected any moment"
        if self.phase == "queued":
            return f"queued (position {self.position}: {', '.join(filter(None, [why, expected]))})"
        return self.phase + (f" ({expected})" if expected else "")


def _inner(sentence: str) -> str:
    """Return a sentence as it reads inside another one."""
    text = sentence.strip().removesuffix(".")
    # A name or an acronym keeps its capital.
    return text[:1].lower() + text[1:] if len(text) < 2 or not text[1].isupper() else text


def seconds(value_s: float) -> str:
    """Return a duration as a person reads it: ``3 ms``, ``9.8 s``, ``12 s``, ``4 min 10 s``."""
    if value_s < 1:
        return f"{value_s * 1000:.0f} ms"
    if value_s < 10:
        return f"{value_s:.1f} s"
    whole_s = round(value_s)
    return f"{whole_s} s" if whole_s < 120 else f"{whole_s // 60} min {whole_s % 60} s"
