"""What was asked of the pool is listed as demand, in parts, to operators alone."""

from __future__ import annotations

import pytest

from pool.api import history
from pool.core.key import key_from

from .conftest import Hands, Http, proof


async def asked(http: Http, path: str = "/v1/history", **more: object) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    after = ""
    while True:
        answer = await http.get(path + after, as_="operator", **more)
        assert answer.status == 200, answer.text
        items += answer.json["items"]
        if not answer.json["next"]:
            return items
        after = f"{'&' if '?' in path else '?'}after={answer.json['next']}"


async def test_a_lease_is_told_as_demand_while_it_lives_and_when_it_has_ended(warm: Http, hands: Hands) -> None:
    grant = await warm.granted("r-1", group="x-1")
    hands.pass_time(5.0)
    (item,) = await asked(warm)
    assert (item["duration_s"], item["end_reason"], item["group"]) == (5.0, None, "x-1")
    await warm.post(f"/v1/leases/{grant['lease_id']}/release", proof(grant))
    hands.pass_time(5.0)
    (item,) = await asked(warm)
    assert (item["lease"], item["duration_s"], item["end_reason"]) == (grant["lease_id"], 5.0, "released")
    assert (item["wait_s"], item["outcome"], item["reason"]) == (0.0, "hit", None)
    assert key_from(item["key"]).digest == item["pool"]  # type: ignore[arg-type]


async def test_parts_hold_every_lease_once_in_the_order_of_asking(
    warm: Http, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "STEP", 2)
    monkeypatch.setattr(history, "LOOKED_AT", 4)
    ids = []
    for n in range(7):
        grant = await warm.granted(f"r-{n}")
        ids.append(grant["lease_id"])
        await warm.post(f"/v1/leases/{grant['lease_id']}/release", proof(grant))
        hands.clean_all()
        # Some are asked for at the same time.
        hands.pass_time(n % 2)
    found = await asked(warm, "/v1/history?limit=3")
    assert sorted(item["lease"] for item in found) == sorted(ids)
    assert [item["arrival_s"] for item in found] == sorted(item["arrival_s"] for item in found)
    assert await asked(warm, "/v1/history?pool=elsewhere") == []
    since = found[4]["arrival_s"]
    assert len(await asked(warm, f"/v1/history?since={since}")) + len(
        await asked(warm, f"/v1/history?until={since}")
    ) == len(ids)


async def test_only_operators_may_list_it(warm: Http) -> None:
    assert (await warm.get("/v1/history")).status == 403


@pytest.mark.parametrize("after", ["nonsense", "WyJhIiwxXQ", "WzEuMF0"])
async def test_what_is_no_cursor_is_refused(warm: Http, after: str) -> None:
    answer = await warm.get(f"/v1/history?after={after}", as_="operator")
    assert (answer.status, answer.json["detail"]) == (400, "after: it is not the `next` of an earlier part.")
