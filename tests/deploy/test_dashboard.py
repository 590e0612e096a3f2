"""The Grafana dashboard: well formed, and every query of it and of the rules finds something after a real run."""

from __future__ import annotations

import json
import math
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from deploy.dashboard.grafana import text
from tests.deploy.demand import CONFIG, Demand
from tests.deploy.test_alerts import FILE as RULES_FILE
from tests.deploy.test_alerts import RULES
from tests.prometheus import NEEDS_PROMETHEUS, Prometheus, prometheus
from tests.serving import Served

FILE = Path(__file__).parents[2] / "deploy" / "chart" / "files" / "warmpool.dashboard.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
UNITS = {"none", "short", "s", "bytes", "percentunit", "ops", "cpm"}


def test_the_file_is_what_its_source_makes() -> None:
    assert FILE.read_text() == text(), "run python -m deploy.dashboard > deploy/chart/files/warmpool.dashboard.json"


def test_ids_and_titles_are_unique() -> None:
    ids = Counter(panel["id"] for panel in DASHBOARD["panels"])
    assert max(ids.values()) == 1
    rows: list[list[str]] = []
    for panel in DASHBOARD["panels"]:
        rows.append([]) if panel["type"] == "row" else rows[-1].append(panel["title"])
    assert all(len(set(titles)) == len(titles) for titles in rows)


def test_panels_do_not_overlap_and_leave_no_row_half_outside() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_the_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["type"] in ("timeseries", "stat")
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    refs = [target["refId"] for target in panel["targets"]]
    assert refs
    assert len(set(refs)) == len(refs)
    for target in panel["targets"]:
        assert target["legendFormat"]
        assert target["datasource"] == panel["datasource"]
        labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        grouped = re.search(r"by \(([\w, ]+)\)", target["expr"])
        assert labels <= (set(grouped[1].split(", ")) if grouped else set()), "the legend names a label that is gone"


def test_every_variable_that_a_query_names_is_there() -> None:
    named = set(re.findall(r"\$\{?(\w+)", FILE.read_text()))
    assert {name for name in named if not name.startswith("__")} == set(VARIABLES)


# --- on a real Prometheus, after a real run ------------------------------------------------------------------------


def queries() -> Iterator[tuple[str, str]]:
    """Yield every query of the dashboard, with its name."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"{panel['title']}, {target['refId']}", target["expr"]


def filled(query: str) -> str:
    """Return a query as Grafana sends it."""
    values = {"__rate_interval": "30s", "__range": "5m", "job": "warmpool", "pool": ".*"}
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], query)


def selectors(expr: str) -> set[str]:
    """Return what a rule selects: metrics with their matchers."""
    return set(re.findall(r"\bwarmpool_\w+(?:{[^}]*})?", expr))


async def with_a_number(server: Prometheus, query: str) -> bool:
    return any(math.isfinite(value) for value in await server.values(query))


async def empty(server: Prometheus, asked: dict[str, str]) -> dict[str, str]:
    """Return the queries that find nothing."""
    return {name: query for name, query in asked.items() if not await with_a_number(server, query)}


@asynccontextmanager
async def a_real_run(home: Path) -> AsyncIterator[Prometheus]:
    """A daemon under demand, killed once and started anew, and a Prometheus that watches it."""
    targets = home / "targets.json"

    def watch(served: Served) -> None:
        new = home / "new.json"
        new.write_text(json.dumps([{"targets": [served.url.removeprefix("http://")]}]))
        new.rename(targets)

    with Served(home / "daemon", config=CONFIG) as first:
        watch(first)
        scrape = {
            "file_sd_configs": [{"files": [str(targets)]}],
            "authorization": {"credentials_file": str(first.state_dir / "metrics.token")},
        }
        async with prometheus(home, scrape, rules=(RULES_FILE,), interval="500ms") as server:
            async with Demand(first):
                await server.value('sum(warmpool_leases_ended_total{reason="expired"}) > 2')
            first.end(signal.SIGKILL)
            (first.state_dir / "daemon.json").unlink()
            with Served(home / "daemon", config=CONFIG) as second:
                watch(second)
                async with Demand(second):
                    up = f'up{{instance="{second.url.removeprefix("http://")}"}}'
                    await server.value(f"sum_over_time({up}[5m]) > 10")
                    yield server


@pytest.mark.timeout(240)
@pytest.mark.parametrize("_", [pytest.param(0, marks=NEEDS_PROMETHEUS, id="prometheus")])
async def test_no_query_of_the_dashboard_and_of_the_rules_finds_nothing(_: int, tmp_path: Path) -> None:
    asked = {name: filled(query) for name, query in queries()}
    asked |= {f"{alert}: {one}": one for alert, rule in RULES.items() for one in selectors(rule["expr"])}
    async with a_real_run(tmp_path) as server:

        async def nothing_is_empty() -> bool:
            return not await empty(server, asked)

        with suppress(AssertionError):  # below it is told which
            await server.until(nothing_is_empty, "every query to find something")
        assert not await empty(server, asked)
        for name in ("job", "pool"):
            assert await label_values(server, VARIABLES[name]["query"]["query"]), name
        assert set(await label_values(server, VARIABLES["pool"]["query"]["query"])) == {"small", "floor", "default"}
        await the_rules_are_evaluated_and_some_fire(server)


async def label_values(server: Prometheus, query: str) -> list[str]:
    """Return what Grafana's `label_values(selector, label)` finds."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", filled(query))
    assert found, query
    return list(await server.ask(f"label/{found[2]}/values", **{"match[]": found[1]}))


async def the_rules_are_evaluated_and_some_fire(server: Prometheus) -> None:
    expected = {"WarmpoolStartFailures", "WarmpoolBreakerOpen", "WarmpoolAcquiresRefused", "WarmpoolResetsFail"}

    async def rules() -> list[dict[str, Any]]:
        return [rule for group in (await server.ask("rules"))["groups"] for rule in group["rules"]]

    async def firing() -> bool:
        return expected <= {rule["name"] for rule in await rules() if rule["state"] == "firing"}

    await server.until(firing, f"{expected} to fire")
    assert {rule["name"]: rule["health"] for rule in await rules()} == dict.fromkeys(RULES, "ok")
