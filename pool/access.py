"""Who may call the API: the tokens file, its callers, their roles and tenants."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pool.core.errors import PoolError
from pool.core.reasons import Reason
from pool.tokens import read_private, write_private

_LOOK_AGAIN_S = 1.0
_TENANTS_CACHED = 10_000


class Role(StrEnum):
    """What a caller may do: lease and look (client), also manage (operator), only scrape (metrics)."""

    CLIENT = "client"
    OPERATOR = "operator"
    METRICS = "metrics"


class AccessError(PoolError):
    """The tokens file cannot be used; the message names file, entry and remedy."""

    reason = Reason.INVALID_REQUEST
    remedy = "Correct the entry; the tokens that were valid before stay valid until then."


class Entry(BaseModel):
    """One entry of the tokens file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    token: str = Field(repr=False, pattern=r"^[A-Za-z0-9._~+/=-]{16,256}$")
    role: Role
    tenants: list[Annotated[str, Field(min_length=1, max_length=255)]] = ["*"]


class Caller:
    """One who holds an API token.

    Attributes:
        name: of the token; request ids are scoped to it.
        role: what it may do.
        tenants: patterns (``*`` and ``?``) of the tenants it sees.
    """

    __slots__ = ("_cache", "name", "role", "tenants")

    def __init__(self, name: str, role: Role, tenants: tuple[str, ...]) -> None:
        self.name = name
        self.role = role
        self.tenants = tenants
        self._cache: dict[str, bool] = {}

    def __repr__(self) -> str:
        return f"<Caller {self.name}, {self.role} of {', '.join(self.tenants)}>"

    def sees(self, tenant: str) -> bool:
        """Tell whether the tenant is one of the caller's."""
        known = self._cache.get(tenant)
        if known is None:
            known = any(fnmatchcase(tenant, pattern) for pattern in self.tenants)
            if len(self._cache) >= _TENANTS_CACHED:
                self._cache.clear()
            self._cache[tenant] = known
        return known

    def may(self, role: Role) -> bool:
        """Tell whether the caller may do what needs `role`. An operator may do all."""
        return self.role is role or self.role is Role.OPERATOR


class Review(Protocol):
    """Knows callers whose tokens somebody else made."""

    async def caller_for(self, token: str) -> Caller | None:
        """Return who holds `token`, None if nobody does.

        Raises:
            PoolError: if that cannot be said now, or the caller is known and may nothing.
        """
        ...


class Access:
    """The callers of a tokens file, read again when it changes.

    A file that was changed into something wrong changes nothing: `error` says what is wrong with it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error = ""
        self._callers: dict[bytes, Caller] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._look_at = 0.0
        self.reload()

    def __repr__(self) -> str:
        return f"<Access of {len(self._callers)} callers from {self.path}>"

    @classmethod
    def load_or_create(cls, path: Path) -> Access:
        """Read the tokens file, or make one with a random token per role.

        Beside a new ``tokens.yaml`` a file for each token is made (``client.token``, ...), for `WARMPOOL_TOKEN_FILE`.

        Raises:
            AccessError, pool.tokens.UnsafeFile: if it cannot be used.
        """
        if not path.exists():
            with _alone_in(path.parent):
                if not path.exists():
                    _create(path)
        return cls(path)

    def reload(self) -> None:
        """Read the file now.

        Raises:
            AccessError, pool.tokens.UnsafeFile: if it cannot be used; the callers stay as they were.
        """
        self._stamp = self._stat()
        try:
            content = read_private(self.path)
        except FileNotFoundError:
            raise AccessError(f"{self.path} is not there.", remedy="Restore it, or start anew without it.") from None
        self._callers = _callers(self.path, content)
        self.error = ""

    def caller_for(self, token: str) -> Caller | None:
        """Return who holds `token`, None if nobody does.

        What is looked up is the token's hash, so the time it takes tells nothing about the tokens there are.
        """
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_AGAIN_S
            if self._stat() != self._stamp:
                try:
                    self.reload()
                except PoolError as error:
                    self.error = str(error)
        return self._callers.get(_digest(token))

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Keep a second daemon, which shares the directory, from making tokens at the same time."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        remedy = "Choose another directory."
        raise AccessError(f"{directory} cannot be used: {error.strerror}.", remedy=remedy) from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _create(path: Path) -> None:
    entries = [Entry(name=role.value, token=secrets.token_urlsafe(32), role=role) for role in Role]
    head = (
        "# Who may call the API. Roles: client (lease and look), operator (also manage), metrics (only /metrics).\n"
        "# `tenants` are patterns of project/domain, such as flytesnacks/*. Changes are noticed within a second.\n"
    )
    body = yaml.safe_dump([entry.model_dump(mode="json") for entry in entries], sort_keys=False)
    for entry in entries:
        # Left by a tokens file that was deleted: it names a token that is no longer valid.
        token_file = path.with_name(f"{entry.name}.token")
        token_file.unlink(missing_ok=True)
        write_private(token_file, entry.token.encode() + b"\n")
    write_private(path, (head + body).encode())


def _callers(path: Path, content: bytes) -> dict[bytes, Caller]:
    try:
        data = yaml.safe_load(content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        # The text around the mistake may be a token: it is not repeated.
        raise AccessError(f"{path}{where}: this is not YAML.") from None
    if not isinstance(data, list) or not data:
        raise AccessError(f"{path}: this is not a list of entries with name, token, role and tenants.")
    callers: dict[bytes, Caller] = {}
    names: set[str] = set()
    for number, item in enumerate(data, start=1):
        entry = _entry(path, number, item)
        digest = _digest(entry.token)
        if entry.name in names:
            raise AccessError(f"{path}, entry {number}: the name {entry.name!r} is taken by another entry.")
        if digest in callers:
            raise AccessError(f"{path}, entry {number} ({entry.name}): its token is also {callers[digest].name}'s.")
        names.add(entry.name)
        callers[digest] = Caller(entry.name, entry.role, tuple(entry.tenants))
    return callers


def _entry(path: Path, number: int, item: object) -> Entry:
    try:
        return Entry.model_validate(item)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = item.get("name") if isinstance(item, dict) else None
        who = f" ({name})" if isinstance(name, str) else ""
        field = ".".join(str(part) for part in first["loc"]) or "the entry"
        remedy = AccessError.remedy
        if field == "token":
            remedy = "Give it 16 to 256 letters, digits or ._~+/=-, e.g. the output of `openssl rand -base64 32`."
        raise AccessError(f"{path}, entry {number}{who}: {field}: {first['msg']}.", remedy=remedy) from None
