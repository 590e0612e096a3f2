"""Reading what the daemon answered."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pool.client.errors import ClientError, DaemonFault, refusal
from pool.client.transport import Answer
from pool.core.reasons import Reason
from pool.wire.operate import Problem

T = TypeVar("T")

_REASONS = frozenset(reason.value for reason in Reason)
# With these the daemon (or a proxy before it) says that it cannot now, not that it will not.
_PASSING_STATUS = frozenset({429, 502, 503, 504})
_PASSING_REASONS = frozenset({Reason.NOT_READY, Reason.STANDING_BY, Reason.STORE_FAILED, Reason.INTERNAL})


def read(body: bytes, kind: TypeAdapter[T]) -> T:
    """Return the message in `body`. A reason code that only a newer daemon knows is read as ``internal``.

    Raises:
        DaemonFault: if it is no such message.
    """
    try:
        return kind.validate_json(body)
    except ValidationError:
        pass
    try:
        return kind.validate_python(_known(json.loads(body)))
    except (ValueError, RecursionError):
        # The cause is left out: it would show the body, and with it a lease's token.
        raise DaemonFault("What answered is not a Warmpool daemon, or one of another version.") from None


def _known(value: Any) -> Any:
    if isinstance(value, list):
        return [_known(item) for item in value]
    if isinstance(value, dict):
        known = {name: _known(item) for name, item in value.items()}
        if isinstance(known.get("reason"), str) and known["reason"] not in _REASONS:
            known["reason"] = Reason.INTERNAL.value
        return known
    return value


_PROBLEM: TypeAdapter[Problem] = TypeAdapter(Problem)


def problem_of(answer: Answer) -> Problem | None:
    """Return the problem document of an answer; None if it holds none."""
    try:
        return read(answer.body, _PROBLEM)
    except DaemonFault:
        return None


def passing(answer: Answer, problem: Problem | None) -> bool:
    """Tell whether the refusal is for now only, so that asking again may help."""
    return answer.status in _PASSING_STATUS and (problem is None or problem.reason in _PASSING_REASONS)


def refused(answer: Answer, problem: Problem | None, url: str) -> ClientError:
    """Return the error of an acquire that was refused for good."""
    if problem is not None:
        return refusal(answer.status, problem.reason, problem.detail or problem.title, problem.remedy)
    if answer.status in {401, 403}:
        return refusal(answer.status, Reason.NOT_ALLOWED, f"{url} refused the token (status {answer.status}).")
    return DaemonFault(f"What answers at {url} is not a Warmpool daemon: it answered {answer.status}.")


def why(answer: Answer, problem: Problem | None) -> str:
    """Return in a few words what an answer that was no success said."""
    if problem is not None and (problem.detail or problem.title):
        return (problem.detail or problem.title).removesuffix(".")
    return f"it answered with status {answer.status}"
