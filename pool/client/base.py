"""What the sync and the async client share: where the daemon is, and how an acquire is begun."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Self

from pool.client.endpoint import Endpoint
from pool.client.lease import HeldLease
from pool.client.renewal import Renewer, renewer_for
from pool.client.request import LeaseRequest, Progress, fresh_id
from pool.client.talk import Asking

TIMEOUT_S = 10.0


class ClientBase:
    """A daemon's endpoint and the time limits to speak to it."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        connect_timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            url: of the daemon: ``http://host:port``.
            token: the bearer token.
            token_file: a file that holds it; read again if the daemon refuses it.
            timeout_s: how long an answer may take, beyond what a call is asked to wait.
            connect_timeout_s: how long an acquire tries to reach a daemon that has not answered it once.

        Raises:
            NotConfigured: the URL is none, or there is no token.
        """
        self._endpoint = Endpoint(url, token, token_file)
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._reset()

    def _reset(self) -> None:
        """Begin without connections."""
        raise NotImplementedError

    @classmethod
    def from_environment(cls) -> Self:
        """Return a client as ``WARMPOOL_URL`` with ``WARMPOOL_TOKEN_FILE`` or ``WARMPOOL_TOKEN`` say.

        Raises:
            NotConfigured: saying which variable is missing or wrong.
        """
        url, token, token_file = Endpoint.environment()
        return cls(url, token, token_file)

    @property
    def url(self) -> str:
        """URL of the daemon."""
        return self._endpoint.url

    @property
    def _identity(self) -> tuple[str, str]:
        return self._endpoint.identity

    @property
    def _renewer(self) -> Renewer:
        return renewer_for(self._endpoint)

    def forget(self, lease: HeldLease) -> None:
        """Renew `lease` no more, and do not release it: it is left to another holder that shares it."""
        if lease._close():
            self._renewer.remove(lease)

    def _asking(self, request: LeaseRequest, progress: Callable[[Progress], None] | None) -> Asking:
        return Asking(
            request.message(),
            self._endpoint.url,
            timeout_s=self._timeout_s,
            connect_timeout_s=self._connect_timeout_s,
            progress=progress,
            new_id=fresh_id if request.request_id is None else None,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"
