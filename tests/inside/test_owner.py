"""The owner of a node's resident data, without a cluster: what it asks Ray, and when."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from pool.inside import owner, version
from pool.inside.owner import ResidentOwner
from pool.resident.owners import sent_by_value


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[ResidentOwner]:
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "here"))
    monkeypatch.setattr(ray, "get", lambda ref: (b"pickled", []))
    made = ResidentOwner(0.5)
    yield made
    made._version.close()


def test_an_owner_is_made_where_nothing_of_ours_is_installed() -> None:
    cloudpickle: Any = ray.cloudpickle
    with sent_by_value(cloudpickle):
        sent = cloudpickle.dumps(ResidentOwner)
    code = "import pickle, sys; sys.modules['pool'] = None; print(pickle.load(sys.stdin.buffer)(0.5).all())"
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"[]\n", b"")


def test_several_threads_may_send_owners_at_once() -> None:
    cloudpickle: Any = ray.cloudpickle
    together = threading.Barrier(4)

    def send() -> bool:
        together.wait()
        sent = []
        for _ in range(50):
            with sent_by_value(cloudpickle):
                sent.append(cloudpickle.dumps(version.Version))
        # Where it is sent by name, that is all.
        return min(map(len, sent)) > 500

    with ThreadPoolExecutor(4) as threads:
        assert all(one.result() for one in [threads.submit(send) for _ in range(4)])


def told(*node_ids: str, size: int | None = 2_400_253, spilled: bool = False) -> dict[str, Any]:
    return {"node_ids": list(node_ids), "object_size": size, "did_spill": spilled}


@pytest.mark.parametrize(
    ("answers", "lies"),
    [
        ([told(), told(), told("there")], ("there", 2_400_253)),
        ([told("there", "here")], ("here", 2_400_253)),
        ([told(size=90)], ("here", 90)),
        ([told(size=None)], ("here", 0)),
        ([told(spilled=True)], ("here", 2_400_253)),
    ],
    ids=["told late", "on both", "small", "unknown", "spilled"],
)
def test_where_a_large_object_lies_is_asked_until_its_node_has_told(
    kept: ResidentOwner, monkeypatch: pytest.MonkeyPatch, answers: list[dict[str, Any]], lies: tuple[str, int]
) -> None:
    coming = iter(answers)
    monkeypatch.setattr(ray.experimental, "get_object_locations", lambda refs: {"ref": next(coming)})
    assert kept.lying(["ref"]) == [lies]
    assert not list(coming), "asked no more often than that"


def test_an_object_that_no_node_tells_of_is_supposed_to_be_here_in_the_end(
    kept: ResidentOwner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "LOCATED_S", 0.05)
    monkeypatch.setattr(ray.experimental, "get_object_locations", lambda refs: {"ref": told()})
    assert kept.lying(["ref"]) == [("here", 2_400_253)]


@pytest.mark.parametrize("dropped", [True, False])
def test_a_value_that_is_dropped_right_after_its_put_is_not_copied(
    kept: ResidentOwner, monkeypatch: pytest.MonkeyPatch, dropped: bool
) -> None:
    timers: list[Any] = []
    puts: list[Any] = []

    class Later:
        def __init__(self, after_s: float, what: Any, given: tuple[Any, ...]) -> None:
            timers.append(lambda: what(*given))

        def start(self) -> None:
            pass

    monkeypatch.setattr(owner.threading, "Timer", Later)
    monkeypatch.setattr(ray, "put", lambda value: puts.append(value) or "own")
    about = {"bytes": 10 * owner.AT_ONCE_BYTES, "kind": "pickle", "pinned": False, "durable": "", "keep_for_s": None}
    kept.adopt("a", ["first"], about)
    if dropped:
        assert kept.drop(["a"]) == ["a"]
    (later,) = timers
    later()
    assert len(puts) == (0 if dropped else 1)
