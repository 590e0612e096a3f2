"""What Flyte's own API says of an execution or run: has it ended?

Flyte 1's admin by its HTTP gateway, ``GET /api/v1/executions/PROJECT/DOMAIN/NAME``, and Flyte 2's `RunService` by the
Connect protocol, ``POST /flyteidl2.workflow.RunService/GetRunDetails`` with JSON.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx

from pool.holds.early import FlyteUnavailable
from pool.tokens import read_private

TIMEOUT_S = 10.0
SOON_S = 30.0
"""A token that ends within this time is not used any more."""

# WorkflowExecution.Phase of flyteidl.core and ActionPhase of flyteidl2.common: those that nothing follows.
ENDED_1 = frozenset(("SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"))
ENDED_2 = frozenset(f"ACTION_PHASE_{phase}" for phase in ENDED_1)


@dataclass(frozen=True, slots=True)
class FlyteAccess:
    """Where Flyte's API is, and how the daemon proves itself there.

    Attributes:
        url: of the HTTP endpoint.
        version: of Flyte, 1 or 2.
        token_file: of its user alone, holds a bearer token; read for each question, so that it may change.
        client_id, client_secret_file, scopes: for OAuth 2 client credentials, at the token endpoint that Flyte names.
    """

    url: str
    version: Literal[1, 2] = 1
    token_file: Path | None = None
    client_id: str = ""
    client_secret_file: Path | None = None
    scopes: tuple[str, ...] = ()


class Flyte:
    """Flyte's API.

    Args:
        access: where it is.
        transport: of httpx, for tests.
    """

    def __init__(self, access: FlyteAccess, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._access = access
        self._http = httpx.AsyncClient(
            base_url=access.url, timeout=TIMEOUT_S, auth=_auth(access), transport=transport, follow_redirects=False
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def has_ended(self, project: str, domain: str, name: str) -> bool:
        """Tell whether an execution (Flyte 1) or run (Flyte 2) is over. One that Flyte does not know may go on.

        Raises:
            FlyteUnavailable: if Flyte gave no answer that says it.
        """
        try:
            if self._access.version == 1:
                path = "/".join(quote(part, safe="") for part in (project, domain, name))
                response = await self._http.get(f"/api/v1/executions/{path}")
            else:
                run = {"runId": {"project": project, "domain": domain, "name": name}}
                response = await self._http.post("/flyteidl2.workflow.RunService/GetRunDetails", json=run)
            if response.status_code == httpx.codes.NOT_FOUND:
                return False
            response.raise_for_status()
            found = response.json()
            if self._access.version == 1:
                return found["closure"]["phase"] in ENDED_1
            return found["details"]["action"]["status"]["phase"] in ENDED_2
        except httpx.HTTPStatusError as error:
            raise FlyteUnavailable(f"{self._access.url} answered {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise FlyteUnavailable(f"{self._access.url}: {error or type(error).__name__}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise FlyteUnavailable(f"{self._access.url} answered what is no execution of Flyte's") from error


def _auth(access: FlyteAccess) -> httpx.Auth | None:
    if access.token_file is not None:
        return _FileToken(access.token_file)
    if access.client_id and access.client_secret_file is not None:
        return _ClientCredentials(access, access.client_secret_file)
    return None


class _FileToken(httpx.Auth):
    def __init__(self, file: Path) -> None:
        self._file = file

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {read_private(self._file).decode().strip()}"
        yield request


class _ClientCredentials(httpx.Auth):
    """OAuth 2 client credentials (RFC 6749, 4.4), with the token endpoint from Flyte's metadata (RFC 8414)."""

    requires_response_body = True

    def __init__(self, access: FlyteAccess, secret_file: Path) -> None:
        self._access = access
        self._secret_file = secret_file
        self._endpoint = ""
        self._token = ""
        self._until = 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if not self._token or time.monotonic() > self._until:
            yield from self._renew()
        request.headers["Authorization"] = f"Bearer {self._token}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            yield from self._renew()
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request

    def _renew(self) -> Generator[httpx.Request, httpx.Response, None]:
        access = self._access
        if not self._endpoint:
            told = yield httpx.Request("GET", f"{access.url.rstrip('/')}/.well-known/oauth-authorization-server")
            self._endpoint = str(_field(told, "token_endpoint"))
        secret = read_private(self._secret_file).decode().strip()
        proof = base64.b64encode(f"{quote(access.client_id, safe='')}:{quote(secret, safe='')}".encode()).decode()
        form = {"grant_type": "client_credentials"} | ({"scope": " ".join(access.scopes)} if access.scopes else {})
        given = yield httpx.Request("POST", self._endpoint, data=form, headers={"Authorization": f"Basic {proof}"})
        self._token = str(_field(given, "access_token"))
        self._until = time.monotonic() + float(given.json().get("expires_in") or 0) - SOON_S


def _field(response: httpx.Response, name: str) -> Any:
    if response.status_code != httpx.codes.OK:
        raise httpx.RequestError(f"its authorization server answered {response.status_code}", request=response.request)
    try:
        return response.json()[name]
    except (KeyError, TypeError, ValueError):
        raise httpx.RequestError(f"its authorization server told no {name}", request=response.request) from None
