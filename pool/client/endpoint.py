"""Where the daemon is and which token it wants."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from pool.client.errors import NotConfigured

URL_VARIABLE = "WARMPOOL_URL"
TOKEN_FILE_VARIABLE = "WARMPOOL_TOKEN_FILE"  # noqa: S105 - the name of a variable
TOKEN_VARIABLE = "WARMPOOL_TOKEN"  # noqa: S105 - the name of a variable

# Where a pod finds its token by convention: a projected volume with a `serviceAccountToken` for audience warmpool.
POD_TOKEN_FILE = Path("/var/run/secrets/warmpool/token")
# And the daemon: the Service of the chart when it is installed as the documents say.
POD_URL = "http://warmpool.warmpool.svc:8787"


def configured() -> bool:
    """Tell whether there is a daemon to ask: ``WARMPOOL_URL`` names one, or the pod was given a token for it."""
    return bool(os.environ.get(URL_VARIABLE, "").strip()) or POD_TOKEN_FILE.exists()


class Endpoint:
    """A daemon's URL, and the token to speak to it.

    A token file is read again when the daemon refuses the token, so that a rotated token is picked up.

    Attributes:
        url: ``http://host:port`` without a slash at its end.
    """

    def __init__(self, url: str, token: str | None = None, token_file: str | os.PathLike[str] | None = None) -> None:
        """Check the URL and read the token.

        Raises:
            NotConfigured: if the URL is not one, or there is no token.
        """
        self.url = _checked_url(url)
        if bool(token) == bool(token_file):
            raise NotConfigured(
                "The daemon wants a token.", remedy=f"Set either {TOKEN_FILE_VARIABLE} or {TOKEN_VARIABLE}."
            )
        self._file = Path(token_file) if token_file else None
        self._token = _checked_token(token or "", "the token") if self._file is None else _read_token(self._file)

    @staticmethod
    def environment() -> tuple[str, str, str]:
        """Return URL, token and token file as the environment names them; one of the last two is empty.

        In a pod that was given a token for the daemon, neither has to be named.

        Raises:
            NotConfigured: if no URL is set.
        """
        in_pod = POD_TOKEN_FILE.exists()
        url = os.environ.get(URL_VARIABLE, "").strip() or (POD_URL if in_pod else "")
        if not url:
            raise NotConfigured(f"No daemon is configured: {URL_VARIABLE} is not set.")
        file = os.environ.get(TOKEN_FILE_VARIABLE, "").strip()
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if not file and not token and in_pod:
            file = str(POD_TOKEN_FILE)
        # The file wins: it is the safer place, and a token left in the environment may be stale.
        return (url, "", file) if file else (url, token, "")

    @property
    def identity(self) -> tuple[str, str]:
        """What makes two endpoints the same one. Secret: never show it."""
        return self.url, str(self._file) if self._file else self._token

    def headers(self) -> dict[str, str]:
        """Return the headers of each request."""
        return {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}

    def reload(self) -> bool:
        """Read the token file again; tell whether it holds another token now."""
        if self._file is None:
            return False
        try:
            token = _read_token(self._file)
        except NotConfigured:
            return False
        changed = token != self._token
        self._token = token
        return changed

    def __repr__(self) -> str:
        return f"<Endpoint {self.url}>"


def _checked_url(url: str) -> str:
    remedy = f"Set {URL_VARIABLE} to a URL such as http://127.0.0.1:8787."
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise NotConfigured(f"{URL_VARIABLE} is not a URL.", remedy=remedy) from None
    if parts.username or parts.password:
        # Not shown: it holds a secret.
        raise NotConfigured(f"{URL_VARIABLE} holds a user or password, which are never sent.", remedy=remedy)
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise NotConfigured(f"{URL_VARIABLE} {url!r} is not the http(s) URL of a daemon.", remedy=remedy)
    return url.strip().rstrip("/")


def _checked_token(token: str, where: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise NotConfigured(f"What {where} holds is not a token.", remedy="Give the token that the daemon made.")
    return token


def _read_token(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise NotConfigured(
            f"The token file {file} cannot be read: {why}.",
            remedy=f"Point {TOKEN_FILE_VARIABLE} to the file that the daemon made, readable by this user.",
        ) from None
    return _checked_token(text, f"the token file {file}")
