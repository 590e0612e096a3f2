"""Every error that the API answers: one table from reason code to status and title, and the documents (RFC 9457)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import structlog
from aiohttp import web
from pydantic import ValidationError

from pool.core.decisions import Rejected
from pool.core.errors import InvalidKey, PoolError
from pool.core.reasons import Reason
from pool.wire.operate import Problem

log = structlog.get_logger("warmpool.api")

PROBLEMS: dict[Reason, tuple[int, str]] = {
    # The request itself.
    Reason.INVALID_REQUEST: (400, "The request is not valid"),
    Reason.UNAUTHENTICATED: (401, "A bearer token is needed"),
    Reason.WRONG_TOKEN: (403, "The lease's token is wrong"),
    Reason.NOT_ALLOWED: (403, "Not allowed"),
    Reason.UNKNOWN_PATH: (404, "No such path"),
    Reason.UNKNOWN_LEASE: (404, "No such lease"),
    Reason.UNKNOWN_CLUSTER: (404, "No such cluster"),
    Reason.UNKNOWN_POOL: (404, "No such pool"),
    Reason.METHOD_NOT_ALLOWED: (405, "The path does not know this method"),
    Reason.BODY_TOO_LARGE: (413, "The body is too large"),
    Reason.INVALID_KEY: (422, "The cluster key is not valid"),
    Reason.SHAPE_TOO_LARGE: (422, "The shape can never fit"),
    # An acquire that comes to nothing.
    Reason.WAIT_TIMEOUT: (408, "Waited too long"),
    Reason.WARM_ONLY_MISS: (409, "No idle cluster"),
    Reason.REQUEST_MISMATCH: (409, "The request id was used for something else"),
    Reason.POOL_CORDONED: (409, "The pool is cordoned"),
    Reason.NESTED_DEADLOCK: (409, "The lease would wait for itself"),
    Reason.REQUEST_ENDED: (410, "The request id's lease has ended"),
    Reason.CANCELLED: (410, "The acquire was cancelled"),
    Reason.WAITER_GONE: (410, "The waiter stopped asking"),
    Reason.QUEUE_FULL: (429, "The queue is full"),
    Reason.START_FAILED: (503, "The cluster could not be started"),
    Reason.BREAKER_OPEN: (503, "Starts are paused after failures"),
    Reason.SHUTDOWN: (503, "The daemon stops its clusters"),
    # A start that is not possible now.
    Reason.POOL_CEILING: (409, "The pool is at its ceiling"),
    Reason.TENANT_CEILING: (409, "The tenant is at its ceiling"),
    Reason.DAEMON_CEILING: (409, "The daemon is at its ceiling"),
    Reason.MAX_STARTING: (409, "Too many clusters are starting"),
    Reason.START_BACKOFF: (409, "The last start failed"),
    # A lease or a thing that does not allow it.
    Reason.STALE_EPOCH: (409, "The epoch is not this lease's"),
    Reason.CONFLICT: (409, "The state does not allow this"),
    Reason.LEASE_ENDED: (410, "The lease has ended"),
    # The daemon itself.
    Reason.INTERNAL: (500, "The daemon met an error of its own"),
    Reason.STORE_FAILED: (503, "The store cannot commit"),
    Reason.NOT_READY: (503, "The daemon is not ready"),
    Reason.STANDING_BY: (503, "Another daemon is the writer"),
}

_REMEDIES: dict[Reason, str] = {
    Reason.INVALID_REQUEST: "Correct the field named, and ask again.",
    Reason.UNAUTHENTICATED: "Send `Authorization: Bearer TOKEN` with a token of the daemon's tokens file.",
    Reason.WRONG_TOKEN: "Send the token that came with the grant.",
    Reason.NOT_ALLOWED: "Use a token whose role and tenants allow it.",
    Reason.UNKNOWN_PATH: "See /docs for the paths there are.",
    Reason.UNKNOWN_LEASE: "Check the id; leases of other tenants cannot be seen, and old ones are forgotten.",
    Reason.UNKNOWN_CLUSTER: "Check the id; clusters of other tenants cannot be seen, and old ones are forgotten.",
    Reason.UNKNOWN_POOL: "Check the digest; pools of other tenants cannot be seen.",
    Reason.METHOD_NOT_ALLOWED: "Use one of the methods in the Allow header.",
    Reason.BODY_TOO_LARGE: "Send a smaller body.",
    Reason.WAIT_TIMEOUT: "Acquire again with a new request id, and a longer timeout_s.",
    Reason.WARM_ONLY_MISS: "Acquire again later, or with mode wait_or_create.",
    Reason.REQUEST_MISMATCH: "Use a new request id for another key or holder.",
    Reason.POOL_CORDONED: "Ask the operator to uncordon the pool.",
    Reason.REQUEST_ENDED: "Acquire again with a new request id.",
    Reason.CANCELLED: "Acquire again with a new request id.",
    Reason.WAITER_GONE: "Acquire again with a new request id, and keep asking until it is granted.",
    Reason.QUEUE_FULL: "Try again later.",
    Reason.STALE_EPOCH: "Send the epoch that came with the grant, or acquire again if the lease is not yours any more.",
    Reason.LEASE_ENDED: "Stop using the cluster; acquire again with a new request id.",
    Reason.NOT_READY: "Ask again after the time in the Retry-After header.",
    Reason.STANDING_BY: "Ask the writer, to which the Service leads in Kubernetes; this daemon takes over if it goes.",
}

_RETRY_AFTER_S: dict[Reason, int] = {
    Reason.NOT_READY: 1,
    Reason.STANDING_BY: 1,
    Reason.STORE_FAILED: 5,
    Reason.QUEUE_FULL: 5,
    Reason.START_FAILED: 10,
    Reason.BREAKER_OPEN: 10,
    Reason.SHUTDOWN: 10,
}

EVERYWHERE = (Reason.INVALID_REQUEST, Reason.BODY_TOO_LARGE, Reason.INTERNAL)
"""Reasons that any request may be answered with."""


class ApiError(PoolError):
    """A request that is answered with a problem document.

    Attributes:
        headers: to send with it.
        end_reason: with `lease_ended`, why it ended.
        is_rejection: the daemon decided it, of an acquire.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str = "",
        *,
        remedy: str = "",
        headers: Mapping[str, str] | None = None,
        end_reason: Reason | None = None,
    ) -> None:
        super().__init__(detail, reason=reason, remedy=remedy or _REMEDIES.get(reason))
        self.headers = dict(headers or {})
        self.end_reason = end_reason
        self.is_rejection = False


def rejected(reply: Rejected) -> ApiError:
    """Return the error for a refusal by the daemon."""
    return ApiError(reply.reason, reply.detail, remedy=reply.remedy)


def status_of(reason: Reason) -> tuple[int, str]:
    """Return status and title of a reason. One that has no row of its own is told as a conflict."""
    return PROBLEMS.get(reason) or (PROBLEMS[Reason.CONFLICT][0], reason.sentence.rstrip("."))


def sentence_of(error: ValidationError, prefix: str = "") -> str:
    """Return the first mistake in one sentence that names its field. Its value, maybe a secret, is not repeated."""
    first = error.errors(include_input=False, include_url=False)[0]
    if first["type"] == "json_invalid":
        return f"The body is not JSON: {first['ctx']['error']}."
    path = ""
    for part in first["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        # Names of the types of a union are steps of the validator, not fields.
        elif not part.startswith(("constrained-", "int", "float", "str", "function-")) or part in ("interval",):
            path += f".{part}" if path else part
    more = error.error_count() - 1
    also = f" (and {more} more)" if more else ""
    where = f"{prefix}{path}" if path else (prefix.rstrip(".") or "the body")
    return f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}{also}."


def explain_error(error: Exception, path: str) -> tuple[Problem, dict[str, str]]:
    """Return the document and the headers for anything raised while `path` was answered."""
    headers: dict[str, str] = {}
    end_reason = None
    if isinstance(error, ApiError):
        headers, end_reason = error.headers, error.end_reason
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        error = ApiError(Reason.BODY_TOO_LARGE, f"{error.text or 'The body is too large'}.")
    elif isinstance(error, web.HTTPException):
        error = ApiError(Reason.INVALID_REQUEST, error.reason)
    elif isinstance(error, InvalidKey):
        # Mistakes in a shape are named from the shape on; in a message it stands inside the key.
        detail = error.detail if error.detail.startswith("key") else f"key.{error.detail}"
        error = ApiError(Reason.INVALID_KEY, detail, remedy=error.remedy)
    elif not isinstance(error, PoolError):
        number = secrets.token_hex(4)
        log.error("a request met an unexpected error", path=path, number=number, exc_info=error)
        remedy = f"Look for {number} in the daemon's log, and report what stands there."
        error = ApiError(Reason.INTERNAL, f"The daemon met an error of its own, logged as {number}.", remedy=remedy)
    status, title = status_of(error.reason)
    if error.reason in _RETRY_AFTER_S:
        headers = {"Retry-After": str(_RETRY_AFTER_S[error.reason]), **headers}
    problem = Problem(
        type=f"urn:warmpool:reason:{error.reason}",
        title=title,
        status=status,
        detail=error.detail,
        reason=error.reason,
        remedy=error.remedy,
        instance=path,
        end_reason=end_reason,
    )
    return problem, headers


def problem_response(error: Exception, path: str) -> web.Response:
    """Return the answer for anything raised while `path` was answered."""
    problem, headers = explain_error(error, path)
    response = web.Response(
        body=problem.model_dump_json(exclude_none=True).encode(),
        status=problem.status,
        headers={"Cache-Control": "no-store", **headers},
        content_type="application/problem+json",
    )
    if problem.reason is Reason.STANDING_BY:
        # The next try is to find the writer: on this connection it would come here again.
        response.force_close()
    return response
