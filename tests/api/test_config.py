"""The configuration in force is shown to operators, without secrets."""

from __future__ import annotations

from .conftest import Http


async def test_only_operators_may_see_the_configuration(http: Http) -> None:
    assert (await http.get("/v1/config")).status == 403
    answer = await http.get("/v1/config", as_="operator")
    assert (answer.status, answer.json) == (200, {"config": {}})
