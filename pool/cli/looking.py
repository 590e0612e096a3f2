"""Commands that look: pools, clusters, leases, queue, explain."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from pool.cli.context import JSON, where
from pool.cli.errors import CommandError
from pool.cli.show import as_json, span, table
from pool.cli.talk import Operator

Tenant = Annotated[str | None, typer.Option("--tenant", "-t", help="Of this tenant alone, such as team/production.")]
PoolName = Annotated[str | None, typer.Option("--pool", "-p", help="Digest, or name of the configured pool.")]


def pools(ctx: typer.Context, tenant: Tenant = None, json: JSON = False) -> None:
    """List the pools and how many clusters they have.

    \b
    Examples:
      warmpool pools
      warmpool pools --tenant team/production --json
    """
    with Operator(where(ctx)) as daemon:
        items = list(daemon.items("/v1/pools", tenant=tenant))
    if json:
        as_json(items)
        return
    table(
        ("POOL", "NAME", "IMAGE", "SHAPE", "TENANT", ">IDLE", ">LEASED", ">OTHER", ">WAIT", "NOTE"),
        (_pool_row(item) for item in items),
        "There are no pools yet: the first lease makes one.",
    )


def _pool_row(item: dict[str, Any]) -> tuple[object, ...]:
    counts = dict(item["clusters"])
    idle, leased = counts.pop("idle", 0), counts.pop("leased", 0)
    counts.pop("stopped", None)
    notes = []
    if item["cordoned"]:
        notes.append("cordoned")
    if item["failures"]:
        notes.append(_failures(item))
    other = sum(counts.values())
    return (
        item["digest"], item["name"], item["image"], item["shape"], item["tenant"], idle, leased, other,
        item["waiters"], ", ".join(notes),
    )  # fmt: skip


def _failures(item: dict[str, Any]) -> str:
    count = item["failures"]
    starts = "1 start failed" if count == 1 else f"{count} starts failed in a row"
    breaker = "breaker open, " if item["breaker"] == "open" else ""
    again = f"next try in {span(item['next_start_s'])}" if item["next_start_s"] else "next try when one is needed"
    return f"{starts} ({breaker}{again}): {item['last_error']}"


def clusters(
    ctx: typer.Context,
    pool: PoolName = None,
    state: Annotated[str | None, typer.Option("--state", "-s", help="In this state alone, such as idle.")] = None,
    tenant: Tenant = None,
    json: JSON = False,
) -> None:
    """List the clusters and what they do.

    \b
    Examples:
      warmpool clusters
      warmpool clusters --state idle
    """
    if state == "stopped":
        raise CommandError(
            "Stopped clusters are not listed.", remedy="`warmpool explain c-...` tells of one by its id, also later."
        )
    with Operator(where(ctx)) as daemon:
        items = list(daemon.items("/v1/clusters", pool=pool, state=state, tenant=tenant))
    if json:
        as_json(items)
        return
    rows = (
        (
            item["id"],
            item["state"] + _flags(item),
            span(item["state_for_s"]),
            span(item["age_s"]),
            item["uses"],
            item["phase"] or item["explanation"] or ", ".join(item["leases"]) or _held(item),
        )
        for item in items
    )
    table(("CLUSTER", "STATE", ">FOR", ">AGE", ">USES", "WHAT"), rows, "There are no clusters.")


def _flags(item: dict[str, Any]) -> str:
    flags = ", ".join(flag for flag in ("cordoned", "degraded") if item.get(flag))
    return f" ({flags})" if flags else ""


def _held(item: dict[str, Any]) -> str:
    held = f"held for {item['group']}" if item["held_until"] else ""
    size_bytes = sum(value["bytes"] for value in item["resident"])
    return ", ".join(filter(None, (held, f"{size_bytes / 1e6:,.1f} MB resident" if item["resident"] else "")))


def leases(
    ctx: typer.Context,
    pool: PoolName = None,
    state: Annotated[
        str | None, typer.Option("--state", "-s", help="granted, active, or ended (the recent ones).")
    ] = None,
    holder: Annotated[str | None, typer.Option("--holder", help="Of this holder alone.")] = None,
    group: Annotated[str | None, typer.Option("--group", "-g", help="Of this group alone.")] = None,
    tenant: Tenant = None,
    json: JSON = False,
) -> None:
    """List the leases: who has which cluster.

    \b
    Examples:
      warmpool leases
      warmpool leases --state ended
    """
    with Operator(where(ctx)) as daemon:
        items = list(daemon.items("/v1/leases", pool=pool, state=state, holder=holder, group=group, tenant=tenant))
    if json:
        as_json(items)
        return
    rows = (
        (
            item["id"],
            item["holder"],
            item["cluster"],
            item["outcome"],
            span(item["waited_s"]),
            item["end_reason"] or item["state"],
            span(item["remaining_s"]) if not item["end_reason"] else "",
        )
        for item in items
    )
    table(("LEASE", "HOLDER", "CLUSTER", "OUTCOME", ">WAITED", "STATE", ">LEFT"), rows, "There are no such leases.")


def queue(ctx: typer.Context, pool: PoolName = None, tenant: Tenant = None, json: JSON = False) -> None:
    """List who waits, and why.

    The order is that in which they will be served.

    \b
    Example:
      warmpool queue
    """
    with Operator(where(ctx)) as daemon:
        items = list(daemon.items("/v1/waiters", pool=pool, tenant=tenant))
    if json:
        as_json(items)
        return
    rows = (
        (
            item["pool_name"],
            item["position"],
            item["id"],
            item["holder"],
            span(item["waited_s"]),
            span(item["expected_s"]),
            item["explanation"],
        )
        for item in items
    )
    table(("POOL", ">POS", "LEASE", "HOLDER", ">WAITED", ">EXPECTED", "WHY"), rows, "Nobody waits.")


def explain(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(help="Id of a lease or waiter (they are the same), or of a cluster (c-...).")],
    json: JSON = False,
) -> None:
    """Tell why a lease waited, missed and ended, or what became of a cluster and why.

    Those that ended are known as long as history keeps them.

    \b
    Examples:
      warmpool explain l-3f1c2a0b9d8e7f60
      warmpool explain c-7f3a01b2c3d4-2
    """
    if re.fullmatch("[0-9a-f]{12}", what):
        raise CommandError(
            f"{what} looks like a pool, and leases and clusters are what can be explained.",
            remedy=f"List what it has with `warmpool clusters --pool {what}` or `warmpool leases --pool {what}`.",
        )
    kind = "clusters" if what.startswith("c-") else "leases"
    with Operator(where(ctx)) as daemon:
        answer = daemon.get(f"/v1/{kind}/{_segment(what)}/explain")
    if json:
        as_json(answer)
        return
    for sentence in (*answer["sentences"], *_dashboard(answer.get("cluster") or {})):
        print(sentence)


def _dashboard(cluster: dict[str, Any]) -> list[str]:
    url = cluster.get("dashboard_url", "")
    if not url or cluster["state"] == "stopped":
        return []
    from pool.client.outside import port_forward

    command = port_forward(url)
    outside = f"; from outside of Kubernetes: `{command}`" if command else ""
    return [f"Its dashboard, which asks for the cluster's token: {url}{outside}."]


def _segment(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
