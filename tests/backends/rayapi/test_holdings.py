"""What would be lost with a node."""

from __future__ import annotations

from typing import Any

import pytest

from pool.backends.rayapi.dashboard import DashboardError
from pool.backends.rayapi.holdings import held


def raylet(ip: str, state: str = "ALIVE", **stats: str) -> dict[str, Any]:
    return {"raylet": {"nodeId": f"n-{ip}", "state": state, "storeStats": stats}}


class Head:
    def __init__(self, told: list[dict[str, Any]], **tables: list[dict[str, Any]]) -> None:
        self.told, self.tables = told, tables

    async def get(self, path: str, params: dict[str, str]) -> Any:
        assert (path, params) == ("/nodes", {"view": "summary"})
        return {"data": {"summary": self.told}}

    async def state(self, table: str, *filters: tuple[str, str, str]) -> list[dict[str, Any]]:
        if table == "nodes":
            alive = [node["raylet"]["nodeId"] for node in self.told if node["raylet"]["state"] == "ALIVE"]
            return self.tables.get("nodes", [{"node_id": id_, "node_ip": id_.removeprefix("n-")} for id_ in alive])
        return self.tables.get(table, [])


async def look(head: Head) -> dict[str, str]:
    return await held(head)  # type: ignore[arg-type]


async def test_objects_in_a_store_objects_referred_to_and_actors_are_held() -> None:
    head = Head(
        [
            raylet("1", numLocalObjects="2", objectStoreBytesUsed="90"),
            raylet("2"),
            raylet("3"),
            raylet("4"),
            raylet("5", "DEAD", numLocalObjects="1"),
        ],
        objects=[{"ip": "2", "object_size": 7}],
        actors=[{"node_id": "n-3", "name": "owner", "class_name": "Owner"}, {"node_id": "n-5", "name": "gone"}],
    )
    assert await look(head) == {"1": "2 objects of 90 bytes", "2": "an object of 7 bytes", "3": "actor 'owner'"}


async def test_a_node_that_told_nothing_yet_proves_nothing() -> None:
    silent = raylet("1")
    del silent["raylet"]["storeStats"]
    with pytest.raises(DashboardError, match="node 1 has told nothing"):
        await look(Head([silent]))
    with pytest.raises(DashboardError, match="node 1 has told nothing"):
        await look(Head([], nodes=[{"node_id": "n-1", "node_ip": "1"}]))


async def test_more_objects_than_are_told_of_prove_nothing() -> None:
    with pytest.raises(DashboardError, match="perhaps more"):
        await look(Head([], objects=[{"ip": "1", "object_size": 1}] * 1000))
