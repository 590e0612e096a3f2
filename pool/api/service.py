"""What needs no lease: health, metrics, and the documents that describe the API."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from pool import __version__
from pool.api.core import Api, Ask
from pool.api.problems import ApiError
from pool.core.reasons import Reason
from pool.wire.operate import ConfigAnswer, Health
from pool.wire.records import ShadowAnswer


async def healthz(api: Api, ask: Ask) -> Health:
    """Tell whether the daemon works: it may still be starting."""
    daemon = api.daemon
    if daemon.failed:
        raise failed(daemon.failed)
    if api.listening.stopping:
        return Health(status="stopping", version=__version__)
    if daemon.standing_by:
        return Health(status="standing_by", version=__version__)
    return Health(status="ok" if daemon.ready else "starting", version=__version__)


async def readyz(api: Api, ask: Ask) -> Health:
    """Tell whether the daemon answers, or stands by and would."""
    if api.daemon.standing_by and not api.daemon.failed and not api.listening.stopping:
        return Health(status="standing_by", version=__version__)
    check_ready(api)
    return Health(status="ok", version=__version__)


def check_ready(api: Api) -> None:
    """Raise the error that tells a caller to come back later, unless the daemon is ready."""
    daemon = api.daemon
    if daemon.failed:
        raise failed(daemon.failed)
    if api.listening.stopping:
        raise ApiError(Reason.NOT_READY, "The daemon is stopping.")
    if daemon.standing_by:
        raise ApiError(Reason.STANDING_BY, f"This daemon stands by: the writer is {daemon.standing_by}.")
    if not daemon.ready:
        raise ApiError(Reason.NOT_READY, "The daemon is starting.")


def failed(why: str) -> ApiError:
    """Return the error for a daemon that stopped by itself."""
    return ApiError(Reason.STORE_FAILED, f"The daemon has stopped: {why}", remedy="Mend the cause and start it again.")


async def metrics(api: Api, ask: Ask) -> web.Response:
    """Return the metrics as Prometheus reads them."""
    if api.registry is None:
        raise ApiError(Reason.UNKNOWN_PATH, "This daemon has no metrics.")
    encode, content_type = choose_encoder(ask.request.headers.get("Accept", ""))
    return web.Response(body=encode(api.registry), headers={"Content-Type": content_type})


async def config(api: Api, ask: Ask) -> ConfigAnswer:
    """Return the configuration in force, without secrets; it can be read back."""
    return ConfigAnswer(config=api.config())


async def shadow(api: Api, ask: Ask) -> ShadowAnswer:
    """Return how a candidate policy would have done on the demand since the daemon began to compare."""
    found = api.shadow()
    if found is None:
        remedy = "Name a policy in the configuration, as in `shadow: {reclaim: auto}`."
        raise ApiError(Reason.CONFLICT, "There is no policy in the shadow.", remedy=remedy)
    return found


async def docs(api: Api, ask: Ask) -> web.Response:
    """Return a page that shows the API."""
    return web.Response(body=_PAGE, headers=_PAGE_HEADERS)


def _hashes(tag: str, text: str) -> str:
    found = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" for part in found)


_TEXT = files("pool.api").joinpath("docs.html").read_text(encoding="utf-8")
_PAGE = _TEXT.encode()
_PAGE_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_hashes('script', _TEXT)}; style-src {_hashes('style', _TEXT)};"
        " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
