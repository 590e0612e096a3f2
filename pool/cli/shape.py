"""The options that say which cluster is wanted."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pool.cli.errors import CommandError

if TYPE_CHECKING:
    from pool.wire.key import KeySpec

Image = Annotated[str, typer.Option("--image", "-i", help="Container image, or the name of the local environment.")]
Tenant = Annotated[
    str | None,
    typer.Option("--tenant", "-t", help="Isolation domain, project/domain.", show_default="your user name/local"),
]
Cpu = Annotated[str, typer.Option("--cpu", help="Logical CPUs of each node: 2, 0.5 or 500m.")]
Memory = Annotated[
    str, typer.Option("--memory", "-m", help="Memory of each node: 4Gi.", show_default="as the backend gives")
]
Gpu = Annotated[int, typer.Option("--gpu", min=0, help="GPUs of each node.")]
Workers = Annotated[int, typer.Option("--workers", "-w", min=0, help="Worker nodes beside the head.")]


def user() -> str:
    """Return the name of the user, as good as it is known."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def tenant_or_own(tenant: str | None) -> str:
    """Return the tenant given, or the user's own."""
    return tenant if tenant is not None else f"{user()}/local"


def shape_of(cpu: str, memory: str, gpu: int, workers: int) -> dict[str, Any]:
    """Return the shape of equal nodes, as plain data."""
    node = {"cpu": cpu, "memory": memory, "gpu": gpu}
    return {"head": node, "workers": [{**node, "replicas": workers}] if workers else []}


def key_of(image: str, tenant: str | None, shape: dict[str, Any]) -> KeySpec:
    """Return the key.

    Raises:
        CommandError: naming the option that is wrong.
    """
    from pydantic import ValidationError

    from pool.wire.key import KeySpec

    try:
        return KeySpec.model_validate({"image": image, "tenant": tenant_or_own(tenant), "shape": shape})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = next((str(part) for part in reversed(first["loc"]) if isinstance(part, str)), "key")
        raise CommandError(f"--{field}: {first['msg'].lower()}.", remedy="Correct the option named.") from None
