"""Clusters that somebody else runs, as the configuration writes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, PlainSerializer, SecretStr

from pool.config.pools import Section
from pool.config.values import Directory, Seconds, address
from pool.core.errors import InvalidKey, PoolError
from pool.core.key import Shape, key_from
from pool.core.reasons import Reason
from pool.wire.key import ShapeSpec

HIDDEN = "[hidden]"


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[^/\s@?#]+(/[^\s?#]*)?", value):
        raise ValueError(f"{value!r} is not a URL without a user in it; write one such as http://ray-head:8265")
    return value.rstrip("/")


def _host_and_port(value: str) -> str:
    return str(address(value))


def _client(value: str) -> str:
    if value and not value.startswith("ray://"):
        raise ValueError(f"{value!r} is not the address of a Ray Client server; write one such as ray://ray-head:10001")
    return value


class ExistingClusterSection(Section):
    """One cluster that somebody else runs."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$")] = Field(description="Its name.")
    tenant: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^\S+$")] = Field(
        description="The one tenant that may lease it, project/domain."
    )
    dashboard: Annotated[str, AfterValidator(_url)] = Field(description="URL of its dashboard, `http://host:8265`.")
    address: Annotated[str, AfterValidator(_host_and_port)] = Field(
        description="Address that its drivers connect to (its GCS), `host:6379`."
    )
    client_address: Annotated[str, AfterValidator(_client)] = Field(
        "", description="Address of its Ray Client server, `ray://host:10001`, if it has one."
    )
    token: Annotated[SecretStr, PlainSerializer(lambda _: HIDDEN)] | None = Field(
        None, description="Its token; better in a file."
    )
    token_file: Directory | None = Field(None, description="File that holds its token, read at every reload.")
    image: str = Field(
        "", description="Image whose tasks it serves; if not given, tasks of every image, and `ray:VERSION` in its key."
    )
    shape: ShapeSpec | None = Field(None, description="Its nodes; what it reports when it is attached, if not given.")
    exclusive: bool = Field(False, description="Nobody else uses it: a reset removes whatever it finds.")
    readmit: bool = Field(
        False, description="After an expired or revoked lease, lease it again as soon as it is proven clean."
    )

    def shape_given(self) -> Shape | None:
        """Return the shape that is given, normalised; None if none is.

        Raises:
            InvalidKey: naming the field of the shape, or the image.
        """
        key: dict[str, Any] = {"image": self.image or "any", "tenant": self.tenant}
        if self.shape is not None:
            key["shape"] = self.shape.model_dump(exclude_none=True)
        made = key_from(key)
        return made.shape if self.shape is not None else None

    def secret(self) -> str:
        """Return the token.

        Raises:
            PoolError: if its file cannot be read, or holds none.
        """
        if self.token is not None:
            return self.token.get_secret_value().strip()
        path = self.token_file or Path()
        try:
            found = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise _no_token(f"{self.name}: its token_file cannot be read: {error}.") from None
        if not found or any(c.isspace() or not c.isprintable() for c in found):
            raise _no_token(f"{self.name}: {path} holds no token.")
        return found


def _no_token(said: str) -> PoolError:
    return PoolError(said, reason=Reason.INVALID_REQUEST, remedy="Put the cluster's token there, and reload.")


class ExistingSection(Section):
    """Ray clusters that somebody else runs: leased and probed, never created or stopped."""

    lets_workers_go: ClassVar[bool] = False
    type: Literal["existing"] = "existing"
    clusters: list[ExistingClusterSection] = Field([], description="The clusters; a reload takes the list anew.")
    probe_interval: Annotated[Seconds, Field(ge=0.5)] = Field(5.0, description="How often each is asked how it is.")
    lost_after: Annotated[Seconds, Field(ge=1)] = Field(
        30.0, description="A cluster that has not answered for so long is lost."
    )


def problems(section: ExistingSection) -> list[tuple[tuple[str | int, ...], str]]:
    """Return what is wrong with the entries beside one another, by place within the section."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    names: dict[str, int] = {}
    urls: dict[str, int] = {}
    for i, entry in enumerate(section.clusters):
        here = ("clusters", i)
        for field, value, before in (("name", entry.name, names), ("dashboard", entry.dashboard, urls)):
            if value in before:
                found.append(((*here, field), f"{value!r} is that of clusters[{before[value]}] too"))
            before.setdefault(value, i)
        if (entry.token is None) == (entry.token_file is None):
            both = "gives both token and token_file; give one of them"
            found.append((here, both if entry.token else "has no token; give token_file (or token)"))
        elif entry.token is not None and not re.fullmatch(r"[!-~]+", entry.token.get_secret_value().strip()):
            found.append(((*here, "token"), "is not a token: it is empty, or has spaces or special characters in it"))
        try:
            entry.shape_given()
        except InvalidKey as error:
            field, _, said = error.detail.partition(": ")
            at = "image" if field == "key.image" else "tenant" if field == "key.tenant" else "shape"
            found.append(((*here, at), f"{said} ({field})" if at == "shape" else said))
    return found
