"""The ledger over HTTP: seconds, hits, misses by reason, and what they cost at the prices in force."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pool.core.settings import Prices, Rules
from pool.store.books import DAY_S

from .conftest import Hands, Http, proof, settings_for


async def read(http: Http, query: str = "") -> dict[str, Any]:
    answer = await http.get(f"/v1/ledger{query}", as_="operator")
    assert answer.status == 200, answer.text
    return answer.json  # type: ignore[no-any-return]


@pytest.fixture
async def used(warm: Http, hands: Hands) -> Http:
    """A hit, and a cold one whose start took six seconds; then both clusters are idle for six minutes."""
    prices = Prices(cpu=2.0, gpu=100.0, waiting=30.0)
    hands.state.set_rules(Rules(lambda key: replace(settings_for(key), prices=prices)))
    hands.entered.clear()
    first = await warm.granted("r-1")
    await warm.acquire("r-2")
    hands.pass_time(6.0)
    hands.start_all()
    for grant in (first, await warm.granted("r-2")):
        await warm.post(f"/v1/leases/{grant['lease_id']}/release", proof(grant))
    hands.clean_all()
    hands.pass_time(360.0)
    return warm


async def test_seconds_and_grants_are_added_up_and_priced(used: Http) -> None:
    (line,) = (await read(used))["items"]
    assert (line["leases"], line["hits"], line["misses"], line["waited_s"]) == (2, 1, 1, 6.0)
    assert line["misses_by_reason"] == {"all_leased": 1}
    assert (line["starting_s"], line["busy_s"], line["idle_s"]) == (6.0, 6.0, 720.0)
    spent = sum(line[f"{what}_s"] for what in ("starting", "idle", "warm_head", "busy", "resetting", "stopping"))
    assert line["life_s"] == spent
    # One cpu at 2 an hour, and waiting at 30.
    assert line["idle_cost"] == pytest.approx(0.4)
    assert line["overhead_cost"] == pytest.approx(6 / 1800)
    assert line["waiting_cost"] == pytest.approx(0.05)
    assert line["cost"] == pytest.approx(0.45 + 6 / 1800)


@pytest.mark.parametrize(
    ("by", "known"),
    [("", set()), ("pool", {"pool", "pool_name", "tenant"}), ("tenant", {"tenant"}), ("day", {"day"})],
)
async def test_lines_are_told_apart_by_what_is_asked(used: Http, by: str, known: set[str]) -> None:
    found = await read(used, f"?by={by}")
    assert len(found["items"]) >= 1
    for line in found["items"]:
        assert {name for name in ("day", "pool", "pool_name", "tenant") if line[name] is not None} == known
    assert found["total"]["leases"] == sum(line["leases"] for line in found["items"]) == 2


async def test_only_the_days_asked_for_are_counted(used: Http, hands: Hands) -> None:
    before = hands.now() - 2 * DAY_S
    assert (await read(used, f"?until={before}"))["items"] == []
    assert (await read(used, f"?since={before}"))["total"]["leases"] == 2
    assert (await read(used, "?pool=elsewhere"))["items"] == []
    assert (await read(used, "?tenant=other/t"))["items"] == []


async def test_only_operators_may_see_it(used: Http) -> None:
    assert (await used.get("/v1/ledger")).status == 403
    assert (await used.get("/v1/ledger?by=holder", as_="operator")).status == 400
