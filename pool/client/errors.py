"""What can go wrong for a holder: one error type per thing it can do about it, each saying what to do next."""

from __future__ import annotations

from pool.core.reasons import Reason


class ClientError(Exception):
    """Base of all errors of the client.

    Attributes:
        reason: the code, for programs.
        detail: what happened, one sentence.
        remedy: what to do next, one sentence.
    """

    reason: Reason = Reason.INTERNAL
    remedy: str = "Report this with the daemon's log."

    def __init__(self, detail: str = "", *, reason: Reason | None = None, remedy: str = "") -> None:
        if reason is not None:
            self.reason = reason
        if remedy:
            self.remedy = remedy
        self.detail = detail or self.reason.sentence
        super().__init__(self.detail)

    def __str__(self) -> str:
        return f"{self.detail} {self.remedy}".strip()


class NotConfigured(ClientError):
    """The environment does not say where the daemon is, or with which token to speak to it."""

    reason = Reason.INVALID_REQUEST
    remedy = "Set WARMPOOL_URL and WARMPOOL_TOKEN_FILE as `warmpool serve` prints them."


class Unreachable(ClientError):
    """No daemon answered for as long as the call was willing to try."""

    remedy = "Start it with `warmpool serve` or correct WARMPOOL_URL."


class NotAllowed(ClientError):
    """The daemon refused the token, or what its role and tenants allow."""

    reason = Reason.NOT_ALLOWED
    remedy = "Give a token whose role and tenants allow this (WARMPOOL_TOKEN_FILE or WARMPOOL_TOKEN)."


class InvalidRequest(ClientError):
    """The request cannot be understood; the named field must be corrected."""

    reason = Reason.INVALID_REQUEST
    remedy = "Correct the named field."


class DaemonFault(ClientError):
    """The daemon met an error of its own, or what answers at the URL is not a daemon."""

    remedy = "Read the daemon's log, and check that WARMPOOL_URL is the URL of a Warmpool daemon."


class AcquireRefused(ClientError):
    """The daemon refused the acquire for `reason`. Subclasses name the common cases."""

    reason = Reason.CONFLICT
    remedy = "Do what the reason asks for, then acquire again with a new request id."


class WarmMiss(AcquireRefused):
    """No idle cluster was there for a `warm_only` acquire."""

    reason = Reason.WARM_ONLY_MISS
    remedy = "Acquire with mode wait or wait_or_create, or run without a leased cluster."


class WaitTimeout(AcquireRefused):
    """No cluster came within the acquire's `timeout_s`."""

    reason = Reason.WAIT_TIMEOUT
    remedy = "Acquire again with a larger timeout_s, or have the pool's ceiling raised."


class QueueFull(AcquireRefused):
    """The pool has as many waiters as it allows."""

    reason = Reason.QUEUE_FULL
    remedy = "Acquire again later."


class ShapeTooLarge(AcquireRefused):
    """No amount of waiting makes a cluster of this shape fit."""

    reason = Reason.SHAPE_TOO_LARGE
    remedy = "Ask for a smaller shape."


class RequestIdUsed(AcquireRefused):
    """The request id was used before: for another key or holder, or for a lease that has ended."""

    reason = Reason.REQUEST_ENDED
    remedy = "Acquire with a new request id."


class LeaseOver(ClientError):
    """The lease is over: its cluster must not be used any more."""

    reason = Reason.LEASE_ENDED


class LeaseLost(LeaseOver):
    """The lease ended before its holder released it.

    Attributes:
        explanation: what happened to it, one sentence.
    """

    reason = Reason.EXPIRED
    remedy = "Stop using the cluster and acquire a new lease; read data from its durable copy."

    def __init__(self, reason: Reason, explanation: str = "") -> None:
        super().__init__(explanation or reason.sentence, reason=reason)
        self.explanation = self.detail

    def __reduce__(self) -> tuple[type[LeaseLost], tuple[Reason, str]]:
        return type(self), (self.reason, self.explanation)


class LeaseEnded(LeaseOver):
    """The holder itself released the lease."""

    reason = Reason.RELEASED
    remedy = "Acquire a new lease."


_REFUSALS: dict[Reason, type[ClientError]] = {
    Reason.WARM_ONLY_MISS: WarmMiss,
    Reason.WAIT_TIMEOUT: WaitTimeout,
    Reason.QUEUE_FULL: QueueFull,
    Reason.SHAPE_TOO_LARGE: ShapeTooLarge,
    Reason.REQUEST_ENDED: RequestIdUsed,
    Reason.REQUEST_MISMATCH: RequestIdUsed,
    Reason.INVALID_KEY: InvalidRequest,
    Reason.INVALID_REQUEST: InvalidRequest,
    Reason.NOT_ALLOWED: NotAllowed,
    Reason.UNAUTHENTICATED: NotAllowed,
    Reason.BODY_TOO_LARGE: InvalidRequest,
    Reason.UNKNOWN_PATH: DaemonFault,
    Reason.METHOD_NOT_ALLOWED: DaemonFault,
}
_REFUSALS_BY_STATUS: dict[int, type[ClientError]] = {
    401: NotAllowed,
    403: NotAllowed,
    422: InvalidRequest,
    429: QueueFull,
}


def refusal(status: int, reason: Reason, detail: str = "", remedy: str = "") -> ClientError:
    """Return the error of an acquire that the daemon refused for good.

    Args:
        status: of the HTTP answer; decides where the reason alone does not.
        reason: the problem's code.
        detail: the problem's sentence, empty for the reason's own.
        remedy: the problem's remedy, empty for the error's own.
    """
    if reason is Reason.UNAUTHENTICATED:
        # The daemon's speaks of the header that a program sends.
        remedy = "Set WARMPOOL_TOKEN_FILE to the file of a token that it knows."
    kind = _REFUSALS.get(reason) or _REFUSALS_BY_STATUS.get(status)
    if kind is None:
        kind = DaemonFault if status == 500 else AcquireRefused
    return kind(detail, reason=reason, remedy=remedy)
