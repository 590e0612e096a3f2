"""The command that shows the ledger: what clusters spent their time on, and what that costs."""

from __future__ import annotations

import csv
import sys
import time
from typing import Annotated, Any

import typer

from pool.cli.context import JSON, where
from pool.cli.errors import CommandError, tell
from pool.cli.looking import PoolName, Tenant
from pool.cli.period import moment
from pool.cli.show import as_json, money, share, span, table
from pool.cli.talk import Operator

COLUMNS = (
    "day", "pool", "pool_name", "tenant", "starting_s", "idle_s", "warm_head_s", "busy_s", "resetting_s", "stopping_s",
    "life_s", "leases", "hits", "misses", "misses_by_reason", "waited_s", "idle_cost", "overhead_cost", "waiting_cost",
    "cost",
)  # fmt: skip
"""Of the CSV, named as in the API's answer."""

BY = ("day", "pool", "tenant")


def ledger(
    ctx: typer.Context,
    since: Annotated[
        str | None,
        typer.Option("--since", help="From that day on: last-30d, 2026-03-01.", show_default="the last seven days"),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="To the day before.", show_default="until now")] = None,
    by: Annotated[
        str, typer.Option("--by", help="One line for each day, pool, tenant; or for each day,pool.")
    ] = "pool",
    pool: PoolName = None,
    tenant: Tenant = None,
    json: JSON = False,
    csv_: Annotated[bool, typer.Option("--csv", help="Write CSV to stdout, and nothing else.")] = False,
) -> None:
    """Show what clusters spent their time on, how leases came by theirs, and what that costs.

    Days are days of UTC. Costs are those of `idle_cost_per_hour` and `waiting_cost_per_hour` in the configuration, as
    it is now: IDLE of clusters that stood ready, OVERHEAD of starts, resets and stops, WAITING of who waited.

    \b
    Examples:
      warmpool ledger
      warmpool ledger --since last-30d --by day
      warmpool ledger --by day,tenant --csv > march.csv
    """
    wanted = [part.strip() for part in by.split(",")]
    if not set(wanted) <= set(BY):
        raise CommandError(f"--by: {by!r} is not what lines can be told apart by.", remedy=f"Name {', '.join(BY)}.")
    now = time.time()
    query = {
        "since": None if since is None else moment(since, "--since", now),
        "until": None if until is None else moment(until, "--until", now),
        "by": ",".join(dict.fromkeys(wanted)),
        "pool": pool,
        "tenant": tenant,
    }
    items: list[dict[str, Any]] = []
    part: dict[str, Any] = {"next": None}
    with Operator(where(ctx)) as daemon:
        while not items or part["next"]:
            part = daemon.get("/v1/ledger", after=part["next"], limit=1000, **query)
            items += part["items"]
            if not part["next"]:
                break
    if json:
        as_json({"since": part["since"], "until": part["until"], "items": items, "total": part["total"]})
    elif csv_:
        _write(items)
    else:
        _show(items, part, wanted)


def _write(items: list[dict[str, Any]]) -> None:
    lines = csv.writer(sys.stdout, lineterminator="\n")
    lines.writerow(COLUMNS)
    for item in items:
        lines.writerow("" if (cell := item[name]) is None else _cell(cell) for name in COLUMNS)


def _cell(value: object) -> object:
    if isinstance(value, dict):
        return " ".join(f"{reason}={count}" for reason, count in value.items())
    return round(value, 6) if isinstance(value, float) else value


def _show(items: list[dict[str, Any]], part: dict[str, Any], by: list[str]) -> None:
    # Many pools have one name: that of the configuration, for keys of many images and shapes.
    shown = {"day": "DAY", "pool": "POOL", "pool_name": "NAME", "tenant": "TENANT"}
    shown = {name: title for name, title in shown.items() if name.removesuffix("_name") in by}
    priced = part["total"]["cost"] > 0
    rows = [[item[name] or "" for name in shown] + _figures(item, priced) for item in items]
    if len(items) > 1:
        rows.append(["all", *[""] * (len(shown) - 1), *_figures(part["total"], priced)])
    figures = [">LIFE", ">BUSY", ">IDLE", ">OTHER", ">LEASES", ">HITS", ">WAITED"]
    costs = [">COST", "OF WHICH IDLE, OVERHEAD, WAITING"] if priced else []
    table((*shown.values(), *figures, *costs, "MISSES"), rows, "Nothing was spent in that time.")
    if items and not priced:
        tell(
            "There are no costs: set idle_cost_per_hour and waiting_cost_per_hour under `defaults` of a configuration."
        )


def _figures(item: dict[str, Any], priced: bool) -> list[object]:
    idle_s = item["idle_s"] + item["warm_head_s"]
    hits = share(item["hits"], item["leases"])
    misses = ", ".join(f"{count} {reason}" for reason, count in list(item["misses_by_reason"].items())[:3])
    costs = (item["idle_cost"], item["overhead_cost"], item["waiting_cost"])
    shown = [money(item["cost"]), ", ".join(map(money, costs))] if priced else []
    return [
        span(item["life_s"]), span(item["busy_s"]), span(idle_s), span(item["life_s"] - item["busy_s"] - idle_s),
        item["leases"], hits, span(item["waited_s"]), *shown, misses,
    ]  # fmt: skip
