"""What a holder tells of resident data with its release: never at the price of the release."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pool.client.residency import Residency, residency
from pool.core.model import ReadFrom
from pool.wire.leases import ClusterAccess

ACCESS = ClusterAccess(id="c-1", address="10.0.0.1:6379", client_address="", token="secret")
ENTRIES = [
    SimpleNamespace(name="old", bytes=1, node="n", used_at=1.0, resident=True),
    SimpleNamespace(name="copied", bytes=0, node="n", used_at=2.0, resident=False),
    SimpleNamespace(name="new", bytes=3, node="n", used_at=3.0, resident=True),
]


def connected(monkeypatch: pytest.MonkeyPatch, look: Callable[[float], Any], address: str = ACCESS.address) -> None:
    context = SimpleNamespace(gcs_address=address)
    ray = SimpleNamespace(
        is_initialized=lambda: True, get_runtime_context=lambda: context, util=SimpleNamespace(client=None)
    )
    values = SimpleNamespace(resident_now=look, take_reads=lambda: {ReadFrom.LOCAL: 2})
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "pool.resident.values", values)


def test_what_is_in_memory_is_told_the_last_used_first(monkeypatch: pytest.MonkeyPatch) -> None:
    connected(monkeypatch, lambda bound_s: ENTRIES)
    told = residency(ACCESS)
    assert isinstance(told, Residency)
    assert [value.name for value in told.values] == ["new", "old"]
    assert told.reads == {ReadFrom.LOCAL: 2}


def test_who_used_no_resident_data_has_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    connected(monkeypatch, lambda bound_s: ENTRIES)
    monkeypatch.delitem(sys.modules, "pool.resident.values")
    assert residency(ACCESS) is None


def test_another_cluster_is_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    connected(monkeypatch, lambda bound_s: ENTRIES, "10.0.0.2:6379")
    assert residency(ACCESS) is None


def test_a_cluster_that_does_not_answer_keeps_nobody_from_his_release(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(bound_s: float) -> Any:
        raise TimeoutError(f"no answer in {bound_s} s")

    connected(monkeypatch, look)
    assert residency(ACCESS) is None
