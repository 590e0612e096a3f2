"""The application: every route behind one wrapper that authenticates, reads, answers, and tells errors as problems."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from pool.access import Access, Caller, Review, Role
from pool.api.core import Api, Ask, Route
from pool.api.leases import json_response
from pool.api.needs import Daemon
from pool.api.openapi import document
from pool.api.problems import ApiError, problem_response, sentence_of
from pool.api.routes import ROUTES
from pool.api.service import check_ready
from pool.core.errors import PoolError
from pool.core.reasons import Reason
from pool.wire.records import ShadowAnswer

MAX_BODY_BYTES = 1024 * 1024
API: web.AppKey[Api] = web.AppKey("api", Api)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(
    daemon: Daemon,
    access: Access,
    registry: CollectorRegistry | None = None,
    *,
    refused: Callable[[Reason], None] = lambda reason: None,
    review: Review | None = None,
    config: Callable[[], dict[str, Any]] = dict,
    shadow: Callable[[], ShadowAnswer | None] = lambda: None,
) -> web.Application:
    """Return the application.

    Args:
        daemon: decides what is asked.
        access: knows who may ask.
        registry: of the metrics behind `/metrics`.
        refused: called with the reason of each refused request, but for acquires that the daemon itself rejected:
            those are in its decisions.
        review: knows callers whom `access` does not; None if there are no others.
        config: returns the configuration in force as plain data, without secrets.
        shadow: returns how a candidate policy compares, None if there is none.
    """
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    api = app[API] = Api(daemon, access, registry, refused, review, config, shadow)
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _bound(api, route), name=route.name)
    app.router.add_route("GET", "/openapi.json", _openapi_handler())
    app.router.add_route("*", "/{rest:.*}", _unknown)

    async def stop(_: web.Application) -> None:
        api.watching.stop()
        await api.listening.stop()

    app.on_shutdown.append(stop)
    return app


def _bound(api: Api, route: Route) -> _Handler:
    body, query, role, call, needs_ready = route.body, route.query, route.role, route.handler, route.needs_ready
    empty_body = body is not None and not any(field.is_required() for field in body.model_fields.values())

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            caller = None if role is None else await _authenticate(api, request, role)
            if needs_ready:
                check_ready(api)
            content = await request.read()
            message = parameters = None
            if body is not None:
                # Strict: a number is a number, not "1" or true, as the document says.
                message = body.model_validate_json(content or (b"{}" if empty_body else b""), strict=True)
            if query is not None:
                parameters = query.model_validate_strings(_single(request))
            answer = await call(api, Ask(request, caller, message, parameters, request.match_info.get("id", "")))
            return answer if isinstance(answer, web.StreamResponse) else json_response(answer)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except ValidationError as error:
            api.refused(Reason.INVALID_REQUEST)
            return problem_response(ApiError(Reason.INVALID_REQUEST, sentence_of(error)), request.path)
        except Exception as error:
            if not (isinstance(error, ApiError) and error.is_rejection):
                api.refused(error.reason if isinstance(error, PoolError) else Reason.INTERNAL)
            return problem_response(error, request.path)

    return handle


async def _authenticate(api: Api, request: web.Request, role: Role) -> Caller:
    header = request.headers.get(hdrs.AUTHORIZATION, "")
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        headers = {"WWW-Authenticate": 'Bearer realm="warmpool"'}
        raise ApiError(Reason.UNAUTHENTICATED, "The request has no bearer token.", headers=headers)
    caller = api.access.caller_for(token.strip())
    if caller is None and api.review is not None:
        caller = await api.review.caller_for(token.strip())
    if caller is None:
        headers = {"WWW-Authenticate": 'Bearer realm="warmpool", error="invalid_token"'}
        raise ApiError(Reason.UNAUTHENTICATED, "The bearer token is nobody's.", headers=headers)
    if not caller.may(role):
        detail = f"The token {caller.name!r} has the role {caller.role}; this needs {role}."
        raise ApiError(Reason.NOT_ALLOWED, detail)
    return caller


def _single(request: web.Request) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in request.query.items():
        if name in values:
            raise ApiError(Reason.INVALID_REQUEST, f"{name}: it is given more than once.")
        values[name] = value
    return values


def _openapi_handler() -> _Handler:
    content = document(ROUTES)

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=content, headers={"Content-Type": "application/json"})

    return handle


_PATTERNS = tuple(
    (re.compile(re.sub(r"\\{id\\}", "[^/]+", re.escape(path))), method)
    for path, method in [*((route.path, route.method) for route in ROUTES), ("/openapi.json", "GET")]
)


async def _unknown(request: web.Request) -> web.Response:
    allowed = sorted({method for pattern, method in _PATTERNS if pattern.fullmatch(request.rel_url.raw_path)})
    if not allowed:
        return problem_response(
            ApiError(Reason.UNKNOWN_PATH, f"There is no path {request.path[:256]!r}."), request.path
        )
    detail = f"{request.path} knows {', '.join(allowed)}, not {request.method}."
    headers = {"Allow": ", ".join(allowed)}
    return problem_response(ApiError(Reason.METHOD_NOT_ALLOWED, detail, headers=headers), request.path)


class NotLoopback(PoolError):
    """The API would be reachable from other machines without anybody having asked for it."""

    reason = Reason.NOT_ALLOWED
    remedy = "Listen on 127.0.0.1, or allow other machines explicitly in the configuration; then put TLS before it."


@dataclass(frozen=True, slots=True)
class Server:
    """A listening API.

    Attributes:
        host, port: where it listens.
    """

    runner: web.AppRunner
    host: str
    port: int

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    async def close(self) -> None:
        """Stop listening; whoever waits is answered at once with where they stand."""
        await self.runner.cleanup()


async def serve(
    app: web.Application, host: str = "127.0.0.1", port: int = 0, *, allow_remote: bool = False, shutdown_s: float = 5.0
) -> Server:
    """Listen.

    Args:
        app: from `create_app`.
        host: address or name.
        port: 0 for any that is free.
        allow_remote: the host may be one that other machines reach.
        shutdown_s: how long answers under way may take when it is closed.

    Raises:
        NotLoopback: the host is not loopback, and `allow_remote` is not set.
        PoolError: it cannot listen there.
    """
    if not allow_remote and not is_loopback(host):
        raise NotLoopback(f"{host} can be reached from other machines.")
    # Without handler_cancellation a client that vanishes while it is queued would be noticed by nobody.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=shutdown_s)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
    except OSError as error:
        await runner.cleanup()
        # asyncio's own sentence names the address once more; a name that is not found has no number of the system's.
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else str(error.strerror or error)
        detail = f"The API cannot listen on {host}, port {port}: {why.lower()}."
        raise PoolError(detail, reason=Reason.CONFLICT, remedy="Choose another address, or stop who has it.") from None
    bound = runner.addresses[0]
    return Server(runner, bound[0], bound[1])


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
