"""Commands that act: cordon, uncordon, drain, prewarm, resize, revoke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pool.cli.context import JSON, where
from pool.cli.errors import CommandError
from pool.cli.shape import Cpu, Gpu, Image, Memory, Tenant, Workers, shape_of
from pool.cli.show import as_json
from pool.cli.talk import Operator

if TYPE_CHECKING:
    from pydantic import BaseModel

Target = Annotated[str, typer.Argument(help="Id of a cluster (c-...), or digest of a pool.")]


def _verb(ctx: typer.Context, target: str, verb: str, json: bool) -> None:
    from urllib.parse import quote

    kind = "clusters" if target.startswith("c-") else "pools"
    _do(ctx, f"/v1/{kind}/{quote(target, safe='')}/{verb}", None, json)


def _do(ctx: typer.Context, path: str, body: BaseModel | None, json: bool) -> None:
    with Operator(where(ctx)) as daemon:
        answer = daemon.post(path, body)
    if json:
        as_json(answer)
    else:
        print(_sentence(answer))


def _sentence(answer: dict[str, Any]) -> str:
    if answer.get("status") == "ended":
        return f"lease {answer['lease_id']} ended: {answer['reason']}"
    return str(answer["text"])


def cordon(ctx: typer.Context, target: Target, json: JSON = False) -> None:
    """Grant nothing more on a cluster, or in a whole pool. Leases that live go on.

    \b
    Examples:
      warmpool cordon c-7f3a01b2c3d4-2
      warmpool cordon 7f3a01b2c3d4
    """
    _verb(ctx, target, "cordon", json)


def uncordon(ctx: typer.Context, target: Target, json: JSON = False) -> None:
    """Take a cordon back.

    \b
    Example:
      warmpool uncordon c-7f3a01b2c3d4-2
    """
    _verb(ctx, target, "uncordon", json)


def drain(ctx: typer.Context, target: Target, json: JSON = False) -> None:
    """Cordon, and stop clusters as they come free.

    Idle ones stop now, leased ones when their lease ends; their holders are asked to finish.

    \b
    Example:
      warmpool drain c-7f3a01b2c3d4-2
    """
    _verb(ctx, target, "drain", json)


def prewarm(
    ctx: typer.Context,
    image: Image = "local",
    tenant: Tenant = None,
    cpu: Cpu = "1",
    memory: Memory = "0",
    gpu: Gpu = 0,
    workers: Workers = 0,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="Idle or starting clusters wanted.")] = 1,
    json: JSON = False,
) -> None:
    """Start clusters before anybody asks for them.

    \b
    Example:
      warmpool prewarm --tenant team/production --cpu 2 --workers 2 --count 3
    """
    from pool.cli.shape import key_of
    from pool.wire.operate import PrewarmRequest

    key = key_of(image, tenant, shape_of(cpu, memory, gpu, workers))
    _do(ctx, "/v1/prewarm", PrewarmRequest(key=key, count=count), json)


def resize(
    ctx: typer.Context,
    pool: Annotated[str, typer.Argument(help="Digest of the pool.")],
    min_idle: Annotated[int | None, typer.Option(min=0, help="Idle clusters wanted at any time.")] = None,
    max_clusters: Annotated[int | None, typer.Option(min=0, help="The most clusters of the pool.")] = None,
    json: JSON = False,
) -> None:
    """Set a pool's floor or ceiling by hand.

    It stands over the configuration.

    \b
    Example:
      warmpool resize 7f3a01b2c3d4 --min-idle 2
    """
    from urllib.parse import quote

    from pool.wire.operate import ResizeRequest

    if min_idle is None and max_clusters is None:
        raise CommandError("There is nothing to set.", remedy="Give --min-idle or --max-clusters.")
    request = ResizeRequest(min_idle=min_idle, max_clusters=max_clusters)
    _do(ctx, f"/v1/pools/{quote(pool, safe='')}/resize", request, json)


def revoke(
    ctx: typer.Context,
    lease: Annotated[str, typer.Argument(help="Id of the lease.")],
    why: Annotated[str, typer.Option("--why", help="Told to the holder.")] = "",
    json: JSON = False,
) -> None:
    """End a lease by force. Its cluster is replaced, since its holder may go on using it.

    \b
    Example:
      warmpool revoke 3f1c2a... --why "the node is needed"
    """
    from urllib.parse import quote

    from pool.wire.operate import RevokeRequest

    _do(ctx, f"/v1/leases/{quote(lease, safe='')}/revoke", RevokeRequest(explanation=why), json)
