"""What a client says to the daemon: the conversations of acquire and release, without I/O."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pydantic import BaseModel, TypeAdapter

from pool.client.answers import passing, problem_of, read, refused, why
from pool.client.backoff import pauses
from pool.client.errors import DaemonFault, Unreachable, WaitTimeout
from pool.client.request import Progress, seconds
from pool.client.transport import Answer, Conversation, NoAnswer, Pause, Post, Result
from pool.core.reasons import Reason
from pool.wire.leases import (
    AcquireAnswer,
    AcquireRequest,
    EndedAnswer,
    GrantAnswer,
    QueuedAnswer,
    ReleaseRequest,
    RenewAnswer,
    RenewItem,
    RenewManyAnswer,
    RenewManyRequest,
    WatchAnswer,
    WatchItem,
    WatchRequest,
)

log = logging.getLogger("warmpool.client")

# How long one call may hang at the daemon; shorter when someone watches the progress. Not longer, since Python notices
# a signal that comes just before a blocking call only after that call.
POLL_S = 10.0
WATCHED_POLL_S = 1.0
# The daemon refuses a waiter whose time is up; only one that fails to do so is given up by the client's own clock.
GRACE_S = 5.0
# For how long a release is tried. One that does not get through is no harm: the lease expires.
RELEASE_S = 5.0
# How much longer than it was asked to wait for news the daemon may take to answer.
WATCH_SLACK_S = 5.0
# The daemon no longer waits for a request id (or took its grant back) when its asker was silent for too long.
_FORGOTTEN = frozenset({Reason.WAITER_GONE, Reason.REQUEST_ENDED})
_ANSWER: TypeAdapter[GrantAnswer | QueuedAnswer] = TypeAdapter(AcquireAnswer)
_WATCHED: TypeAdapter[WatchAnswer] = TypeAdapter(WatchAnswer)
_RENEWED: TypeAdapter[RenewManyAnswer] = TypeAdapter(RenewManyAnswer)


class Asking:
    """One acquire: `acquire` asks until granted, `abandon` gives back what was asked for or granted."""

    def __init__(
        self,
        request: AcquireRequest,
        url: str,
        *,
        timeout_s: float,
        connect_timeout_s: float,
        progress: Callable[[Progress], None] | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        """Prepare the conversation.

        Args:
            request: what to ask for.
            url: of the daemon, for messages.
            timeout_s: how long an answer may take beyond the time that the call itself waits.
            connect_timeout_s: how long to try when the daemon was never reached.
            progress: called with each answer.
            new_id: makes a request id to go on with when the daemon gave up on the first one, which it does when no
                answer got through for a while; None if the caller insists on its own.
        """
        self._request = request
        self._url = url
        self._limit_s = request.timeout_s
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._progress = progress
        self._new_id = new_id
        self._lease_id = ""
        self._open = False
        self._reached = False

    def acquire(self) -> Conversation[tuple[GrantAnswer, float]]:
        """Ask until granted.

        Returns:
            The grant, and the time of the monotonic clock from which its `remaining_s` counts.

        Raises:
            ClientError: the daemon refused, or did not answer.
        """
        began = time.monotonic()
        retry = pauses(0.1, 2.0)
        while True:
            result = yield self._ask(began)
            if isinstance(result, Answer) and result.status == 200:
                self._reached = True
                retry = pauses(0.1, 2.0)
                answer = self._hear(result)
                if isinstance(answer, GrantAnswer):
                    return answer, _basis(began, result, answer)
                waited_s = time.monotonic() - began
                if waited_s > self._limit_s + GRACE_S:
                    raise WaitTimeout(f"No cluster came within {seconds(waited_s)}.")
            else:
                yield Pause(self._pause_after(result, next(retry), time.monotonic() - began))

    def _ask(self, began: float) -> Post:
        # The first call does not wait: it tells the lease's id, so that from then on the waiting can be cancelled.
        wait_s = 0.0
        if self._lease_id:
            left_s = began + self._limit_s + GRACE_S - time.monotonic()
            wait_s = min(WATCHED_POLL_S if self._progress else POLL_S, max(left_s, 0.1))
        self._open = True
        message = self._request.model_copy(update={"wait_s": wait_s})
        body = message.model_dump_json(exclude_defaults=True).encode()
        return Post("/v1/leases", body, wait_s + self._timeout_s, connect_s=min(5.0, self._connect_timeout_s))

    def _hear(self, result: Answer) -> GrantAnswer | QueuedAnswer:
        answer = read(result.body, _ANSWER)
        self._lease_id = answer.lease_id
        if self._progress:
            self._progress(Progress.of(answer))
        return answer

    def _pause_after(self, result: Result, pause_s: float, waited_s: float) -> float:
        """Return how long to pause before the next try, or raise when there must be none."""
        cause = ""
        if isinstance(result, Answer):
            self._reached = True
            problem = problem_of(result)
            # What stands before a daemon that is being replaced may answer in its place, as an ingress does.
            another = problem is None and self._lease_id != ""
            if not another and not passing(result, problem):
                self._open = False
                if self._new_id is None or problem is None or problem.reason not in _FORGOTTEN:
                    raise refused(result, problem, self._url)
                self._begin_anew(self._new_id(), waited_s)
            cause = why(result, problem)
            pause_s = max(pause_s, min(result.retry_after_s or 0.0, 5.0))
        elif isinstance(result, NoAnswer):
            self._reached = self._reached or result.connected
            cause = result.why
        limit_s = self._limit_s
        if not self._reached:
            limit_s = min(limit_s, self._connect_timeout_s)
        if waited_s + pause_s < limit_s:
            log.debug("no answer from %s (%s): trying again in %.1f s", self._url, cause, pause_s)
            if self._progress:
                # Who watches would take the silence of a daemon that is away for the waiting for a cluster.
                self._progress(Progress.unanswered(cause, limit_s - waited_s, waited_s))
            return pause_s
        if self._reached:
            raise Unreachable(
                f"The daemon at {self._url} could not answer this acquire for {seconds(waited_s)}: {cause}.",
                remedy="Look after the daemon, then acquire again.",
            )
        self._open = False
        raise Unreachable(f"No daemon answers at {self._url}: {cause}.")

    def _begin_anew(self, request_id: str, waited_s: float) -> None:
        left_s = max(self._limit_s - waited_s, 0.0)
        self._request = self._request.model_copy(update={"request_id": request_id, "timeout_s": left_s})
        self._lease_id = ""

    def abandon(self) -> Conversation[None]:
        """Give back what this acquire may have got: the grant, or the place in the queue."""
        if not self._open:
            return
        self._open = False
        self._progress = None
        if not self._lease_id:
            # The only call that was made went unanswered: asking again tells what became of it.
            result = yield _last_words("/v1/leases", self._request)
            if not isinstance(result, Answer) or result.status != 200:
                return
            self._hear(result)
        # Cancelling gives a grant back too, unless somebody who shares the request id has claimed it.
        result = yield _last_words(f"/v1/leases/{self._lease_id}/cancel")
        if isinstance(result, Answer) and result.status < 300:
            log.info("gave lease %s back, since its acquire was interrupted", self._lease_id)
        else:
            log.warning("could not give lease %s back: it expires by itself", self._lease_id)


def _last_words(path: str, message: BaseModel | None = None) -> Post:
    # Short: somebody pressed Ctrl-C, and what is not given back expires soon.
    return Post(path, message.model_dump_json().encode() if message else b"{}", timeout_s=2.0, connect_s=1.0)


def _basis(began: float, result: Answer, grant: GrantAnswer) -> float:
    """Return the time from which the grant's `remaining_s` counts: as late as is certainly not too late.

    The lease did not exist when the call that waited for it was sent. It was granted `waited_s` after it was first
    asked for, which was not before this acquire began.
    """
    return max(result.sent_at, min(began + grant.waited_s, result.received_at))


def release(lease_id: str, proof: ReleaseRequest, tries_s: float = RELEASE_S) -> Conversation[bool]:
    """Release a lease, trying for `tries_s`.

    Returns:
        Whether the daemon knows that the lease is over; if not, it will expire by itself.
    """
    began = time.monotonic()
    body = proof.model_dump_json(exclude_none=True, exclude_unset=True).encode()
    for pause_s in pauses(0.1, 1.0):
        left_s = tries_s - (time.monotonic() - began)
        limit_s = max(left_s, 0.2)
        result = yield Post(f"/v1/leases/{lease_id}/release", body, timeout_s=limit_s, connect_s=min(limit_s, 2.0))
        cause = result.why if isinstance(result, NoAnswer) else ""
        if isinstance(result, Answer):
            if result.status < 300:
                log.debug("released lease %s", lease_id)
                return True
            problem = problem_of(result)
            cause = why(result, problem)
            if problem is not None and result.status in {404, 409, 410}:
                log.info("lease %s was over before its release: %s", lease_id, cause)
                return True
            if problem is not None and not passing(result, problem):
                break
        if left_s <= pause_s:
            break
        yield Pause(pause_s)
    log.warning("could not release lease %s (%s): it expires by itself", lease_id, cause)
    return False


class NotHeard(Exception):
    """Whether there is news could not be learned; `passing` if asking again may help soon."""

    def __init__(self, why: str, *, passing: bool) -> None:
        super().__init__(why)
        self.passing = passing


def watch(leases: list[WatchItem], wait_s: float) -> Conversation[list[str]]:
    """Wait up to `wait_s` for news of leases.

    Returns:
        The ids of those that a renewal tells something new of.

    Raises:
        NotHeard: nothing was learned, also where the daemon is of a version that does not tell.
    """
    body = WatchRequest(leases=leases, wait_s=wait_s).model_dump_json().encode()
    result = yield Post("/v1/watch", body, timeout_s=wait_s + WATCH_SLACK_S, connect_s=WATCH_SLACK_S)
    if not isinstance(result, Answer):
        raise NotHeard(result.why if result else "", passing=True)
    if result.status != 200:
        problem = problem_of(result)
        raise NotHeard(why(result, problem), passing=passing(result, problem))
    try:
        return read(result.body, _WATCHED).changed
    except DaemonFault as error:
        raise NotHeard(error.detail, passing=False) from None


class NotRenewed(Exception):
    """A renewal got no answer that counts; the message says why."""


def renew(proofs: list[RenewItem], timeout_s: float) -> Conversation[tuple[float, list[RenewAnswer | EndedAnswer]]]:
    """Renew leases in one call.

    Returns:
        When it was sent (monotonic), and one result per lease, in order.

    Raises:
        NotRenewed: nothing was learned of any of them.
    """
    body = RenewManyRequest(leases=proofs).model_dump_json().encode()
    result = yield Post("/v1/renew", body, timeout_s=timeout_s, connect_s=timeout_s)
    if not isinstance(result, Answer):
        raise NotRenewed(result.why if result else "")
    if result.status != 200:
        raise NotRenewed(why(result, problem_of(result)))
    try:
        results = read(result.body, _RENEWED).results
    except DaemonFault as error:
        raise NotRenewed(error.detail.removesuffix(".")) from None
    if len(results) != len(proofs):
        raise NotRenewed("its answer does not have one result per lease")
    return result.sent_at, results
