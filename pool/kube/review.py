"""Who holds a token of Kubernetes: asked of Kubernetes itself (TokenReview), and remembered for a short while.

The caller's tenants follow from the namespace of its service account, never from what it says of itself.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from pool.access import Caller, Role
from pool.core.errors import PoolError
from pool.core.reasons import Reason
from pool.kube.api import ApiError
from pool.kube.tenancy import ReviewRules

log = structlog.get_logger("warmpool.access")

_TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path
_ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
# Only what can be a signed token is asked about: a guess at a static token must not leave the daemon.
_SIGNED = re.compile(r"[\w-]{8,4096}\.[\w-]{8,8192}\.[\w-]{8,4096}", re.ASCII)
_ACCOUNT = re.compile(r"system:serviceaccount:([^:]+):([^:]+)")
_UNKNOWN_S = 5.0
_AWAY_S = 2.0
_REMEMBERED = 10_000
_AT_ONCE = 16


class Asks(Protocol):
    """The Kubernetes API, as far as reviews need it."""

    async def create(self, path: str, body: Mapping[str, Any]) -> Any:
        """Create an object and return it as it was answered."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class CannotReview(PoolError):
    """Kubernetes cannot say now who holds a token."""

    reason = Reason.NOT_READY
    remedy = (
        "Try again; if it lasts, the operator looks whether the daemon reaches Kubernetes and may create tokenreviews."
    )


class NoTenant(PoolError):
    """Kubernetes knows the caller, and the daemon's rules give it nothing."""

    reason = Reason.NOT_ALLOWED
    remedy = "The operator adds a rule for its namespace under access.kubernetes.namespaces."


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller | NoTenant | None
    fresh_until: float
    kept_until: float


class Reviewer:
    """Tells who holds a service account's token.

    Args:
        connect: opens the connection to Kubernetes, at the first token.
        now: monotonic seconds.
        wall: epoch seconds, which is what a token's own expiry counts in.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Asks]],
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._connect, self._now, self._wall = connect, now, wall
        self._api: Asks | None = None
        self._connecting = asyncio.Lock()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._rules: ReviewRules | None = None
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._running: dict[tuple[bytes, ReviewRules], asyncio.Task[_Known]] = {}
        self._away_until = 0.0
        self._why_away = ""

    def __repr__(self) -> str:
        return f"<Reviewer that remembers {len(self._known)} tokens>"

    def follow(self, rules: ReviewRules | None) -> None:
        """Judge by `rules` from now on; None lets nobody in."""
        if rules != self._rules:
            self._rules = rules
            # What was learned under other rules counts no more, also where its answer is still on its way.
            self._known.clear()

    async def caller_for(self, token: str) -> Caller | None:
        """Return who holds `token`, None if nobody does.

        Raises:
            CannotReview: if Kubernetes does not say, and did not say lately.
            NoTenant: if the caller is known, and no rule gives it anything.
        """
        rules = self._rules
        if rules is None or not _SIGNED.fullmatch(token):
            return None
        digest = hashlib.sha256(token.encode()).digest()
        now = self._now()
        known = self._known.get(digest)
        if known is None or now >= known.fresh_until:
            try:
                known = await self._review(digest, token, rules)
            except CannotReview:
                # A caller that was let in lately goes on, so that leases outlive an API server that is away.
                if known is None or now >= known.kept_until:
                    raise
        if isinstance(known.caller, NoTenant):
            raise known.caller
        return known.caller

    async def close(self) -> None:
        """Close the connection."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        if self._api is not None:
            await self._api.close()

    async def _review(self, digest: bytes, token: str, rules: ReviewRules) -> _Known:
        if self._now() < self._away_until:
            raise CannotReview(self._why_away)
        task = self._running.get((digest, rules))
        if task is None:
            task = self._running[digest, rules] = asyncio.create_task(self._learn(digest, token, rules))
            # Whoever asked may have given up meanwhile: then nobody else hears how it ended.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Several requests may wait for it: one that is given up must not take it from the others.
        return await asyncio.shield(task)

    async def _learn(self, digest: bytes, token: str, rules: ReviewRules) -> _Known:
        try:
            async with self._slots:
                user = await self._user(token, rules.audience)
                caller = None if user is None else await self._caller(user, rules)
        except ApiError as error:
            self._why_away = f"Kubernetes does not say who holds this token: {error}."
            self._away_until = self._now() + _AWAY_S
            log.warning(f"a token could not be reviewed: {error}")
            raise CannotReview(self._why_away) from None
        finally:
            del self._running[digest, rules]
        now = self._now()
        end = now + max(0.0, _expires_at(token) - self._wall())
        if caller is None:
            known = _Known(None, now + _UNKNOWN_S, 0.0)
        else:
            known = _Known(caller, min(now + rules.fresh_s, end), min(now + rules.kept_s, end))
        if rules is self._rules:
            self._known[digest] = known
            self._known.move_to_end(digest)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known

    async def _connected(self) -> Asks:
        async with self._connecting:
            if self._api is None:
                self._api = await self._connect()
            return self._api

    async def _user(self, token: str, audience: str) -> dict[str, Any] | None:
        spec = {"token": token, "audiences": [audience]}
        status = await self._ask(_TOKEN_REVIEWS, "authentication.k8s.io/v1", "TokenReview", spec)
        # An API server that knows nothing of audiences names none: then nothing says that the token was meant for us.
        if not status.get("authenticated") or audience not in status.get("audiences", ()):
            return None
        user: dict[str, Any] = status["user"]
        return user

    async def _caller(self, user: dict[str, Any], rules: ReviewRules) -> Caller | NoTenant:
        username = str(user["username"])
        account = _ACCOUNT.fullmatch(username)
        # No name of the tokens file has a slash: request ids of one are never the other's.
        name = f"serviceaccount/{account[1]}/{account[2]}" if account else f"user/{username}"
        groups = frozenset(user.get("groups") or ())
        if groups & rules.operator_groups or (
            rules.ask_access
            and await self._allowed(
                user, "resourceAttributes", {"group": "warmpool.io", "resource": "pools", "verb": "update"}
            )
        ):
            return Caller(name, Role.OPERATOR, ("*",))
        if account:
            tenants = rules.tenants_of(account[1], account[2])
            if tenants:
                return Caller(name, Role.CLIENT, tenants)
        if rules.ask_access and await self._allowed(user, "nonResourceAttributes", {"path": "/metrics", "verb": "get"}):
            return Caller(name, Role.METRICS, ())
        return NoTenant(f"{name} has no tenant here: no rule is for its namespace.")

    async def _allowed(self, user: dict[str, Any], kind: str, attributes: dict[str, str]) -> bool:
        spec = {
            "user": user["username"],
            "groups": user.get("groups") or [],
            "uid": user.get("uid", ""),
            "extra": user.get("extra") or {},
            kind: attributes,
        }
        status = await self._ask(_ACCESS_REVIEWS, "authorization.k8s.io/v1", "SubjectAccessReview", spec)
        return bool(status.get("allowed"))

    async def _ask(self, path: str, version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        api = await self._connected()
        answer = await api.create(path, {"apiVersion": version, "kind": kind, "spec": spec})
        status: dict[str, Any] = answer.get("status") or {}
        return status


def _expires_at(token: str) -> float:
    """Return when a signed token ends (epoch seconds), as it says itself; infinity if it does not say."""
    part = token.split(".")[1]
    try:
        expiry = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))).get("exp")
    except (ValueError, AttributeError):
        return float("inf")
    return float(expiry) if isinstance(expiry, int | float) else float("inf")
