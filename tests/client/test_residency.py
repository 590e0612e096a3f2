"""What a holder tells of resident data with its release: never at the price of the release."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pool.client import residency as module
from pool.client.residency import Residency, leave_at_exit, left_in, residency, residency_of
from pool.core.model import ReadFrom
from pool.inside.place import RESIDENCY
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
        is_initialized=lambda: True,
        get_runtime_context=lambda: context,
        util=SimpleNamespace(client=SimpleNamespace(ray=SimpleNamespace(is_connected=lambda: False))),
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


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What is to be done as this process ends, which no test is to leave."""
    found: list[Callable[[], None]] = []
    register = SimpleNamespace(register=lambda call, *arguments: found.append(lambda: call(*arguments)))
    monkeypatch.setattr(module, "atexit", register)
    monkeypatch.setattr(module, "_leaving", set())
    return found


def test_a_process_under_the_lease_of_another_one_leaves_what_it_saw_for_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exits: list[Callable[[], None]]
) -> None:
    connected(monkeypatch, lambda bound_s: ENTRIES)
    monkeypatch.setenv("RAY_ADDRESS", ACCESS.address)
    leave_at_exit()
    assert exits == []
    monkeypatch.setenv(RESIDENCY, str(tmp_path))
    leave_at_exit()
    leave_at_exit()
    assert left_in(tmp_path) is None
    [leave] = exits
    leave()
    told = left_in(tmp_path)
    assert told == residency(ACCESS)
    assert told is not None
    assert told.reads == {ReadFrom.LOCAL: 2}
    # As a process that was forked from it ends, nothing is asked of Ray.
    monkeypatch.setattr(os, "getpid", lambda: 1)
    leave()
    assert len([*tmp_path.iterdir()]) == 1


def test_a_process_that_is_connected_elsewhere_or_to_a_cluster_that_hangs_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exits: list[Callable[[], None]]
) -> None:
    monkeypatch.setenv(RESIDENCY, str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", ACCESS.address)
    leave_at_exit()
    connected(monkeypatch, lambda bound_s: ENTRIES, "10.0.0.2:6379")
    exits[0]()

    def look(bound_s: float) -> Any:
        raise TimeoutError(f"no answer in {bound_s} s")

    connected(monkeypatch, look)
    exits[0]()
    assert [*tmp_path.iterdir()] == []


def test_of_several_processes_the_last_counts_with_the_reads_of_all_and_nonsense_is_left_out() -> None:
    first = '{"at": 1, "resident": [{"name": "old", "bytes": 1}], "reads": {"local": 1, "missing": 2}}'
    last = '{"at": 2, "resident": [{"name": "new", "bytes": 3}], "reads": {"local": 4}}'
    for texts in ([first, last], [last, "", "7", "[]", '{"at": 3}', '{"resident": 1, "reads": 2, "at": 9}', first]):
        told = residency_of(texts)
        assert told is not None
        assert [value.name for value in told.values] == ["new"]
        assert told.reads == {ReadFrom.LOCAL: 5, ReadFrom.MISSING: 2}
    assert residency_of(["{}"]) is None
