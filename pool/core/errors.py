"""What a caller can be told: one error type per thing the caller can do about it."""

from __future__ import annotations

from pool.core.reasons import Reason


class PoolError(Exception):
    """Base of all errors of the pool.

    Attributes:
        reason: the code, for programs.
        detail: what happened, one sentence, with the names and numbers of this case.
        remedy: what to do next, one sentence.
    """

    reason: Reason = Reason.INTERNAL
    remedy: str = "Report this with the daemon's log."

    def __init__(self, detail: str = "", *, reason: Reason | None = None, remedy: str | None = None) -> None:
        if reason is not None:
            self.reason = reason
        if remedy is not None:
            self.remedy = remedy
        self.detail = detail or self.reason.sentence
        super().__init__(self.detail)

    def __str__(self) -> str:
        return f"{self.detail} {self.remedy}"


class InvalidKey(PoolError):
    """The cluster key cannot be understood."""

    reason = Reason.INVALID_KEY
    remedy = "Correct the named field of the key."


class ShapeTooLarge(PoolError):
    """No amount of waiting makes a cluster of this shape fit."""

    reason = Reason.SHAPE_TOO_LARGE
    remedy = "Ask for a smaller shape, or raise the limit named."


class Refused(PoolError):
    """An acquire, renewal, release or operator's request was refused for `reason`."""

    reason = Reason.CONFLICT
    remedy = "Look at the thing's state and ask again."


class TransitionError(PoolError):
    """A transition that its table does not have: a bug, caught before it changed anything."""

    reason = Reason.CONFLICT
    remedy = "Nothing was changed; look at the state of the thing and ask again."


class StartFailed(PoolError):
    """A backend could not start a cluster; `detail` holds the tail of its log."""

    reason = Reason.START_FAILED
    remedy = "Read the cause above; the pool tries again by itself."


class NotTheWriter(PoolError):
    """Another daemon opened the store after this one: this one must stop."""

    reason = Reason.STORE_FAILED
    remedy = "Stop this daemon: another one owns the store now."


class StoreFailed(PoolError):
    """The store cannot commit at all (disk full, gone, corrupt)."""

    reason = Reason.STORE_FAILED
    remedy = "Free disk space or restore the store, then start the daemon again: nothing committed is lost."


class StoreConflict(PoolError):
    """The store refused one event's changes (a constraint), and took nothing of them."""

    reason = Reason.CONFLICT
    remedy = "Ask again with a new request id."
