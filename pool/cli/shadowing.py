"""The command that compares the policy in the shadow with the live ones."""

from __future__ import annotations

import time
from typing import Any

import typer

from pool.cli.context import JSON, where
from pool.cli.show import as_json, share, span, table
from pool.cli.talk import Operator


def shadow(ctx: typer.Context, json: JSON = False) -> None:
    """Compare the policy in the shadow with the live ones, on the demand since the daemon began to.

    It is named in the configuration, as in `shadow: {reclaim: auto}`, and sees every lease as it is granted and as it
    ends. Nothing that it decides is done. What it came to begins anew with the daemon, and with each reload.

    \b
    Example:
      warmpool shadow
    """
    with Operator(where(ctx)) as daemon:
        answer = daemon.get("/v1/shadow")
    if json:
        as_json(answer)
        return
    print(f"In the shadow: {answer['policy']}, for {span(time.time() - answer['since'])}.")
    rows = [_row(item) for item in answer["items"]]
    if len(rows) > 1:
        rows.append(("all", *_row(answer["total"])[1:]))
    columns = ("POOL", "NAME", "TENANT", ">LEASES", ">HITS", ">WOULD BE", ">IDLE", ">WOULD BE", ">STARTS", ">WOULD BE")
    table(columns, rows, "Nothing was asked for since.")


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    hits = item["both"] + item["live_only"], item["both"] + item["shadow_only"]
    return (
        item["pool"], item["pool_name"], item["tenant"], item["leases"],
        *(share(found, item["leases"]) for found in hits),
        span(item["live_idle_s"]), span(item["shadow_idle_s"]), item["live_starts"], item["shadow_starts"],
    )  # fmt: skip
