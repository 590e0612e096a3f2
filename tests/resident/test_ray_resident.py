"""Values that outlive the job that put them, on one real cluster with two jobs in a row."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import ray

from pool import resident
from pool.flyte.handle import Resident, expect, given, keep
from pool.inside import owner
from pool.inside.owner import SHARE_VARIABLE, ResidentOwner
from pool.resident.owners import Owners
from pool.resident.remembered import remembered

from .conftest import MB, STORE_BYTES, Job, kill, owners, ray_data, real_ray

pytestmark = [*real_ray, pytest.mark.usefixtures("nothing_left")]


def in_shared_memory(array: Any) -> bool:
    """Tell whether an array lies in the store's memory."""
    address = array.__array_interface__["data"][0] if isinstance(array, np.ndarray) else array
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5) if line.count(" ") > 4 else (line.split()[0], "")
        begin, end = (int(part, 16) for part in span.split("-"))
        if begin <= address < end:
            return "plasma" in name
    return False


def test_what_one_job_puts_another_gets_without_a_copy(job: Job) -> None:
    array = np.arange(1_000_000.0).reshape(1000, 1000)
    frame = pd.DataFrame({"a": np.arange(200_000), "b": np.arange(200_000) / 3, "c": ["x", "y"] * 100_000})
    table = pa.table({"a": np.arange(200_000), "s": [str(n) for n in range(200_000)]})
    with job():
        entry = resident.put("array", array)
        assert (entry.resident, entry.kind, entry.durable) == (True, "pickle", "")
        assert entry.bytes > array.nbytes
        resident.put("frame", frame)
        resident.put("table", table)
        # Of a slice only its own part is kept.
        assert resident.put("slice", table.slice(10, 100)).bytes < table.nbytes / 10
        resident.drop("slice")
        resident.put("polars", pl.from_arrow(table))
        resident.put("model", {"weights": [array[0], array[1]], "call": lambda x: x + 1})
    with job():
        assert [entry.name for entry in resident.list()] == ["array", "frame", "model", "polars", "table"]
        got = resident.get("array")
        np.testing.assert_array_equal(got, array)
        assert in_shared_memory(got)
        assert not got.flags.writeable
        again = resident.get("frame")
        pd.testing.assert_frame_equal(again, frame)
        assert in_shared_memory(again["a"].to_numpy())
        arrow = resident.get("table")
        assert arrow.equals(table)
        assert in_shared_memory(arrow["a"].chunk(0).buffers()[1].address)
        polars = resident.get("polars")
        assert polars.equals(pl.from_arrow(table))
        assert in_shared_memory(polars["a"].to_arrow().buffers()[1].address)
        model = resident.get("model")
        assert model["call"](1) == 2
        np.testing.assert_array_equal(model["weights"][1], array[1])
        # The last of a name counts, and who has the one before may go on.
        resident.put("array", array + 1)
        assert resident.get("array")[0, 0] == 1.0
        assert got[0, 1] == 1.0
        assert resident.drop("array", "unknown") == ["array"]
        assert "array" not in [entry.name for entry in resident.list()]


def test_what_keeps_values_is_started_for_a_task_that_will_return_one(job: Job) -> None:
    with job():
        for one in owners():
            kill(one)
        expect([pd.DataFrame, int])
        assert owners() == []
        expect([int, Resident[pd.DataFrame]])
        (owner,) = owners()
        resident.put("a", 1)
        assert owners() == [owner]
        resident.get("a")
        assert remembered.count == 1
    # A reference that is dropped after the disconnect ends the process.
    assert remembered.count == 0


def test_a_value_that_is_still_to_be_copied_outlives_the_job_that_put_it(
    job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate = tmp_path / "open"

    class Late(ResidentOwner):
        def _copy(self, entry: dict[str, Any]) -> None:
            while not gate.exists():
                time.sleep(0.01)
            super()._copy(entry)

    monkeypatch.setattr(owner, "ResidentOwner", Late)
    array = np.random.default_rng(1).integers(0, 255, 30 * MB, np.uint8)
    with job():
        for one in owners():
            kill(one)
        assert resident.put("array", array).resident
    with job():
        # What is put now takes the room of what was freed.
        for _ in range(10):
            ray.put(np.full(30 * MB, 7, np.uint8))
        assert [entry.name for entry in resident.list()] == ["array"]
        asked = ray.remote(num_cpus=0)(lambda: resident.get("array")).remote()
        assert ray.wait([asked], timeout=1)[1] == [asked]
        gate.touch()
        assert (ray.get(asked) == array).all()
        assert (resident.get("array") == array).all()
    with job():
        assert (resident.get("array") == array).all()
        for one in owners():
            kill(one)


def test_what_changes_while_a_value_is_copied_for_who_asks_is_seen_by_who_remembers_it() -> None:
    class Replaced(ResidentOwner):
        def _copy(self, entry: dict[str, Any]) -> None:
            self.drop(["array"])

    one = Replaced(0.5)
    one._kept["array"] = {"name": "array", "refs": [None], "durable": "", "copying": threading.Lock()}
    found, now = one.find("array"), one._version.told()
    assert found is not None
    assert found[2] is not None
    assert now is not None
    assert found[2]["number"] < now["number"]


def test_what_was_asked_for_is_remembered_until_another_process_changes_it(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = Owners.ask

    def counted(self: Owners, handle: Any, method: str, *arguments: Any) -> Any:
        asked.append(method)
        return ask(self, handle, method, *arguments)

    monkeypatch.setattr(Owners, "ask", counted)
    with job():
        resident.put("array", np.zeros(1000))
        asked.clear()
        for _ in range(5):
            assert resident.get("array")[0] == 0.0
        assert asked == ["find"]

        def elsewhere() -> None:
            resident.put("array", resident.get("array") + 1)

        for n in (1.0, 2.0):
            # Who heard of its end sees what it did.
            ray.get(ray.remote(elsewhere).remote())
            assert resident.get("array")[0] == n
        resident.put("array", np.zeros(10))
        assert len(resident.get("array")) == 10
        resident.drop("array")
        with pytest.raises(resident.ResidentMissing):
            resident.get("array")


def test_what_processes_remember_makes_room_when_it_is_needed(job: Job) -> None:
    def remember() -> int:
        return len(resident.get("old"))

    with job():
        resident.put("old", np.zeros(60 * MB, np.uint8))
        assert ray.get(ray.remote(remember).remote()) == 60 * MB
        assert len(resident.get("old")) == 60 * MB
        # A copy of each would not have room beside it.
        resident.put("new", np.zeros(60 * MB, np.uint8))
        assert [entry.name for entry in resident.list()] == ["new"]


@ray_data
def test_a_dataset_stays_in_its_blocks(job: Job) -> None:
    with job():
        import ray.data

        blocks = [pd.DataFrame({"a": np.arange(at, at + 1000)}) for at in (0, 1000, 2000)]
        entry = resident.put("data", ray.data.from_pandas(blocks))
        assert entry.kind == "dataset"
        assert entry.bytes > 24_000
    with job():
        data = resident.get("data")
        assert isinstance(data, ray.data.Dataset)
        assert data.num_blocks() == 3
        assert sorted(row["a"] for row in data.take_all()) == [*range(3000)]


def test_objects_that_a_value_refers_to_live_on_with_it(job: Job) -> None:
    with job():
        part = ray.put(np.arange(1000))
        resident.put("tree", {"left": part, "right": [part, ray.remote(lambda: "leaf").remote()]})
        del part
    with job():
        tree = resident.get("tree")
        assert ray.get(tree["left"])[7] == 7
        assert tree["left"] == tree["right"][0]
        assert ray.get(tree["right"][1]) == "leaf"


def test_a_missing_name_is_one_clear_error_and_so_is_what_is_none(job: Job) -> None:
    with job(), pytest.raises(resident.ResidentMissing, match=r"'nothing' is not on this cluster, .* put it again"):
        resident.get("nothing")
    with job():
        for name in ("", "two\nlines", None):
            with pytest.raises(ValueError, match="A resident value has a name"):
                resident.put(name, 1)  # type: ignore[arg-type]
        for keep_for in (0, -1, float("nan"), "5m"):
            with pytest.raises(ValueError, match="keep_for is a number of seconds above 0"):
                resident.put("brief", 1, keep_for=keep_for)  # type: ignore[arg-type]
        with pytest.raises(TypeError) as refused:
            resident.put("lock", threading.Lock())
        assert refused.value.__notes__ == ["So 'lock' cannot be resident: what is kept must be pickled."]
        assert resident.list() == []
    with pytest.raises(ValueError, match="keep_for_s is a number"):
        Resident(1, keep_for_s=0)
    with pytest.raises(resident.NotConnected):
        resident.get("nothing")
    with pytest.raises(resident.NotConnected):
        resident.put("something", 1)


def test_the_least_recently_used_go_first_and_pinned_ones_never(job: Job, tmp_path: Path) -> None:
    with job():
        # 100 MB of the store are for resident data.
        for name in ("old", "older"):
            resident.put(name, np.zeros(25 * MB, np.uint8))
        resident.put("pinned", np.zeros(25 * MB, np.uint8), pinned=True)
        resident.get("old")
        resident.put("copied", np.ones(20 * MB, np.uint8), durable=str(tmp_path / "copied"))
        assert len(resident.list()) == 4
        resident.get("old")
        resident.put("new", np.zeros(25 * MB, np.uint8))
        assert [entry.name for entry in resident.list()] == ["copied", "new", "old", "pinned"]
        resident.put("newer", np.zeros(40 * MB, np.uint8))
        kept = {entry.name: entry.resident for entry in resident.list()}
        assert kept["pinned"]
        assert not kept["copied"]
        # Dropped for room, but not lost.
        assert resident.get("copied")[0] == 1
        with pytest.raises(resident.ResidentFull, match=r"'huge' \(90,.* pinned. Drop other values, name a durable"):
            resident.put("huge", np.zeros(90 * MB, np.uint8))
        entry = resident.put("huge", np.zeros(90 * MB, np.uint8), durable=str(tmp_path / "huge"))
        assert not entry.resident
        assert len(resident.get("huge")) == 90 * MB
        # Nothing was written to disk by Ray.
        assert ray.cluster_resources()["object_store_memory"] == STORE_BYTES
        spilled = subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "memory", "--stats-only"], capture_output=True, text=True
        )
        assert "Spilled" not in spilled.stdout


def test_what_was_not_used_for_long_enough_goes(job: Job) -> None:
    with job():
        resident.put("brief", np.zeros(1000), keep_for=0.3)
        [owner] = owners()
        for _ in range(1000):
            if not ray.get(owner.all.remote()):
                break
            time.sleep(0.01)
        with pytest.raises(resident.ResidentMissing):
            resident.get("brief")


def test_a_flyte_value_comes_from_memory_where_it_is_and_elsewhere_from_flytes_copy(job: Job) -> None:
    def unread() -> Any:
        raise AssertionError("it was read from Flyte's copy")

    handle = Resident(np.arange(10))
    with job():
        keep(handle, handle.get(), "s3://bucket/one")
    with job():
        got = given("s3://bucket/one", unread)
        assert got.get()[9] == 9
        assert got.source == "memory"
        elsewhere = given("s3://bucket/two", lambda: np.arange(20))
        assert len(elsewhere.get()) == 20
        assert elsewhere.source == "durable"
        # The next task has it from memory.
        assert len(given("s3://bucket/two", unread).get()) == 20


def test_the_share_of_the_store_is_the_tasks_where_the_cluster_says_none(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SHARE_VARIABLE, "0.01")
    with job():
        for owner in owners():
            kill(owner)
        with pytest.raises(resident.ResidentFull, match="2,000,000"):
            resident.put("array", np.zeros(3 * MB, np.uint8))
        for owner in owners():
            kill(owner)
    assert os.environ.get("RAY_ADDRESS") is None


def test_the_share_of_the_store_is_the_clusters_whatever_a_task_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARE_VARIABLE, "0.01")
    assert ResidentOwner(0.9).share == 0.01
    monkeypatch.delenv(SHARE_VARIABLE)
    assert ResidentOwner(0.9).share == 0.9
