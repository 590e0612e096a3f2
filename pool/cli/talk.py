"""Finding the daemon and speaking to it as an operator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pool.cli.errors import CommandError
from pool.core.reasons import Reason
from pool.statedir import OPERATOR_TOKEN_FILE, running

if TYPE_CHECKING:
    import httpx
    from pydantic import BaseModel

    M = TypeVar("M", bound=BaseModel)

TIMEOUT_S = 30.0
_OPERATOR = (
    "Give the --token-file of an operator, or unset WARMPOOL_TOKEN_FILE and WARMPOOL_TOKEN where the daemon runs."
)
_ANOTHER = "Give another --token-file, or set WARMPOOL_TOKEN_FILE to the file of a token that it knows."
_REMEDIES = {Reason.UNAUTHENTICATED.value: _ANOTHER, Reason.NOT_ALLOWED.value: _OPERATOR}
"""What to do instead of what the daemon says, which knows nothing of command lines."""


@dataclass(frozen=True, slots=True)
class Where:
    """What the command line says about where the daemon is."""

    url: str | None = None
    token_file: Path | None = None
    state_dir: Path | None = None

    def directory(self) -> Path:
        """Return the state directory of a daemon on this machine."""
        if self.state_dir is not None:
            return self.state_dir.expanduser()
        from pool.config.model import default_state_dir

        return default_state_dir()


@dataclass(frozen=True, slots=True)
class Found:
    """A daemon and the token to speak to it."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"<Found {self.url}>"


def find(where: Where) -> Found:
    """Return the daemon that the command line, the environment or the state directory names, in this order.

    Raises:
        CommandError: there is none, or no token for it.
    """
    url = where.url or os.environ.get("WARMPOOL_URL", "").strip()
    local = running(where.directory())
    if not url:
        if local is None:
            raise CommandError(
                f"No daemon runs here: none announced itself in {where.directory()}.",
                remedy="Start one with `warmpool serve`, or name one with --url or WARMPOOL_URL.",
            )
        url = local.url
    url = url.rstrip("/")
    return Found(url, _token(where, local.tokens if local is not None and local.url == url else None))


def _token(where: Where, here: Path | None) -> str:
    file = where.token_file or _path(os.environ.get("WARMPOOL_TOKEN_FILE"))
    if file is None and (token := os.environ.get("WARMPOOL_TOKEN", "").strip()):
        return token
    if file is None and here is not None:
        file = here / OPERATOR_TOKEN_FILE
    if file is None:
        # The token of the daemon on this machine is never sent to another one.
        raise CommandError(
            "There is no token for that daemon.", remedy="Give --token-file, or set WARMPOOL_TOKEN_FILE."
        )
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise CommandError(
            f"The token file {file} cannot be read: {why.lower()}.", remedy="Give another --token-file."
        ) from None


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text and text.strip() else None


class Operator:
    """Speaks to the daemon. Use it as a context manager."""

    def __init__(self, where: Where) -> None:
        import httpx

        self._found = find(where)
        try:
            self._http: httpx.Client = httpx.Client(
                base_url=self._found.url,
                headers={"Authorization": f"Bearer {self._found.token}"},
                timeout=TIMEOUT_S,
                trust_env=False,
            )
        except (httpx.InvalidURL, ValueError, TypeError):
            raise CommandError(f"{self._found.url!r} is not a URL.", remedy="Correct --url or WARMPOOL_URL.") from None

    def __enter__(self) -> Operator:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """Return what is at `path`; queries that are None are left out.

        Raises:
            CommandError: the daemon refused, or did not answer.
        """
        return self._ask("GET", path, params={name: str(value) for name, value in query.items() if value is not None})

    def post(self, path: str, body: BaseModel | None = None) -> dict[str, Any]:
        """Ask for something to be done.

        Raises:
            CommandError: the daemon refused, or did not answer.
        """
        return self._ask("POST", path, json=body.model_dump(mode="json", exclude_none=True) if body else {})

    def items(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, part by part."""
        after: object = None
        while True:
            part = self.get(path, after=after, limit=1000, **query)
            yield from part["items"]
            after = part.get("next")
            if not after:
                return

    def _ask(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        import httpx

        from pool.client.transport import because

        try:
            answer = self._http.request(method, path, **how)
            data = answer.json()
            if not isinstance(data, dict):
                raise TypeError
        except httpx.UnsupportedProtocol:
            raise CommandError(f"{self._found.url!r} is not a URL.", remedy="Correct --url or WARMPOOL_URL.") from None
        except httpx.HTTPError as error:
            raise CommandError(
                f"The daemon at {self._found.url} does not answer: {because(error)}.",
                remedy="Look whether it runs, or correct --url.",
            ) from None
        except (ValueError, TypeError):
            raise CommandError(
                f"What answers at {self._found.url} is not a Warmpool daemon (HTTP {answer.status_code}).",
                remedy="Correct --url or WARMPOOL_URL.",
            ) from None
        if answer.is_success:
            return data
        reason = str(data.get("reason", ""))
        raise CommandError(
            str(data.get("detail") or data.get("title") or f"HTTP {answer.status_code}."),
            reason=Reason(reason) if reason in set(Reason) else None,
            remedy=_REMEDIES.get(reason, str(data.get("remedy", ""))),
        )
