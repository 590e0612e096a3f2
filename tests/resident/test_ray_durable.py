"""What lies elsewhere too: it answers for what memory has lost, on one real cluster."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import ray

from pool import resident
from pool.client.residency import copies_written
from pool.resident import durable
from pool.wire.leases import ClusterAccess
from tests.serving import environment

from .conftest import MB, Job, kill, owners, ray_data, real_ray, until

pytestmark = [*real_ray, pytest.mark.usefixtures("nothing_left")]


def test_a_durable_copy_answers_for_what_is_not_in_memory(job: Job, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    urls = {name: str(tmp_path / "deep" / name) for name in ("frame", "table", "polars", "model")}
    values = {
        "frame": frame, "table": pa.table({"a": [1]}), "polars": pl.DataFrame({"a": [1.5]}), "model": {"a": {1, 2}}
    }  # fmt: skip
    with job():
        for name, value in values.items():
            assert resident.put(name, value, durable=urls[name]).durable == urls[name]
        assert (tmp_path / "deep" / "frame").read_bytes()[:4] == b"PAR1"
        assert pd.read_parquet(urls["frame"]).equals(frame)
        resident.drop()
        # It names where, as another cluster would have to.
        got = resident.get("frame", durable=urls["frame"])
        pd.testing.assert_frame_equal(got, frame)
        # It is resident again, and known.
        Path(urls["frame"]).unlink()
        pd.testing.assert_frame_equal(resident.get("frame"), frame)
    # No cluster at all.
    assert resident.get("table", durable=urls["table"]).equals(values["table"])
    assert resident.get("polars", durable=urls["polars"]).equals(values["polars"])
    assert resident.get("model", durable=urls["model"]) == values["model"]
    (tmp_path / "else").write_bytes(b"neither a pickle nor Parquet")
    for url in (str(tmp_path / "nowhere"), str(tmp_path / "else"), "no-storage://bucket/key"):
        with (
            job(),
            pytest.raises(resident.ResidentMissing, match=f"'other' is not .* copy {url} cannot be read: [^\n]+$"),
        ):
            resident.get("other", durable=url)
    assert not list(tmp_path.rglob("*.part"))


def test_a_copy_is_written_behind_while_the_value_stays_whatever_else_comes(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, url = threading.Event(), str(tmp_path / "copy")
    write = durable.write

    def slow(*arguments: Any) -> None:
        assert go.wait(60)
        write(*arguments)

    monkeypatch.setattr(durable, "write", slow)
    with job():
        with pytest.raises(ValueError, match="name one, as in put"):
            resident.put("array", np.zeros(3), write_behind=True)
        entry = resident.put("array", np.zeros(60 * MB, np.uint8), durable=url, write_behind=True, keep_for=3600)
        assert (entry.writing, entry.durable, Path(url).exists()) == (True, "", False)
        with pytest.raises(resident.ResidentFull):
            resident.put("other", np.zeros(60 * MB, np.uint8))
        go.set()
        assert len(resident.get("array")) == 60 * MB
        assert copies_written() is None
        [entry] = resident.list()
        assert (entry.writing, entry.durable, entry.pinned, entry.keep_for_s) == (False, url, False, 3600)
        assert entry.durable_s > 0
        resident.put("other", np.zeros(60 * MB, np.uint8))
        # Dropped for room by now, and not lost.
        assert len(resident.get("array")) == 60 * MB


def test_a_copy_that_cannot_be_written_is_one_error_and_not_told_to_be_there(job: Job, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inside = str(tmp_path / "file" / "copy")
    with job():
        with pytest.raises(resident.DurableFailed, match=r"copy no-storage://bucket/key could not be written: [^\n]+$"):
            resident.put("array", np.arange(3), durable="no-storage://bucket/key")
        assert resident.list() == []
        with pytest.raises(resident.DurableFailed, match=f"The durable copy {inside} could not be written: "):
            resident.put("array", np.arange(3), durable=inside)
        [entry] = resident.list()
        assert (entry.resident, entry.durable) == (True, "")
        assert resident.get("array")[2] == 2


def test_a_value_that_makes_room_while_its_copy_is_written_is_had_from_the_copy(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = durable.write

    def beside(*arguments: Any) -> None:
        resident.put("other", np.zeros(60 * MB, np.uint8))
        write(*arguments)

    monkeypatch.setattr(durable, "write", beside)
    with job():
        entry = resident.put("array", np.zeros(60 * MB, np.uint8), durable=str(tmp_path / "copy"))
        assert (entry.resident, entry.durable) == (False, str(tmp_path / "copy"))
        resident.drop("other")
        assert len(resident.get("array")) == 60 * MB


def test_how_long_a_value_is_kept_counts_from_when_its_copy_behind_is_written(job: Job, tmp_path: Path) -> None:
    with job():
        resident.put("brief", np.zeros(3), durable=str(tmp_path / "copy"), write_behind=True, keep_for=0.3)
        assert copies_written() is None
        until(lambda: not resident.list()[0].resident)


WRITTEN_BEHIND = """
import os
import numpy as np
import pandas as pd
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
import pool.flyte.handle1
from pool.client.residency import copies_written
from pool.client.connect import connected
from pool.flyte.handle import Resident
from pool.flyte.record import TaskRecord, current
from pool.wire.leases import ClusterAccess

context, kind = FlyteContextManager.current_context(), Resident[pd.DataFrame]
expected = TypeEngine.to_literal_type(kind)
frame = pd.DataFrame({"a": np.arange(1000), "b": ["x", "y"] * 500})
with connected(ClusterAccess(id="c-1", address=os.environ["ADDRESS"], token="secret"), None, local=True):
    at_once = TypeEngine.to_literal(context, Resident(frame), kind, expected)
    record = TaskRecord("t", 0.0)
    current.set(record)
    handle = Resident(frame, write_behind=True)
    current.set(None)
    later = TypeEngine.to_literal(context, handle, kind, expected)
    given_on = TypeEngine.to_python_value(context, later, kind)
    pd.testing.assert_frame_equal(given_on.get(), frame)
    assert given_on.source == "memory"
    assert copies_written() is None
    assert handle.memory_s > 0
    assert handle.durable_s > 0
    # The task's record tells both times apart: what it waited for, and what it did not.
    assert record.handover_s == round(handle.memory_s, 4)
    assert (record.behind, record.behind_s) == (1, round(handle.durable_s, 4))
    one, other = (literal.scalar.structured_dataset for literal in (at_once, later))
    assert one.uri != other.uri
    assert one.metadata == other.metadata
    try:
        TypeEngine.to_literal(
            context, Resident({1}, write_behind=True), Resident[set], TypeEngine.to_literal_type(Resident[set])
        )
    except TypeError as error:
        assert "write_behind is for frames" in str(error)
    else:
        raise AssertionError("a set was written behind")
# Anywhere else.
plain = TypeEngine.to_python_value(context, later, pd.DataFrame)
pd.testing.assert_frame_equal(plain, frame)
print("as it should be")
"""


WRITTEN_BEHIND_2 = """
import os
import flyte
import numpy as np
import pandas as pd
from flyteplugins.ray import RayJobConfig, WorkerNodeConfig
from pool.client.residency import copies_written
from pool.flyte import Pooled, Resident
from pool.client.connect import connected
from pool import resident
from pool.resident import behind
from pool.wire.leases import ClusterAccess
Pooled(RayJobConfig(worker_node_config=[WorkerNodeConfig("w", 1)]))

env = flyte.TaskEnvironment("env")
frame = pd.DataFrame({"a": np.arange(1000), "b": ["x", "y"] * 500})
begun = []
begin = behind.begin
behind.begin = lambda *arguments: begun.append(arguments[0]) or begin(*arguments)

@env.task
async def make(later: bool) -> Resident[pd.DataFrame]:
    return Resident(frame, write_behind=later)

@env.task
async def use(given: Resident[pd.DataFrame]) -> str:
    pd.testing.assert_frame_equal(given.get(), frame)
    return given.source

@env.task
async def number() -> Resident[int]:
    return Resident(1, write_behind=True)

@env.task
async def chain(later: bool) -> list[str]:
    made = await make(later)
    source = await use(made)
    assert copies_written() is None
    [entry] = resident.list()
    assert (entry.durable_s > 0, entry.writing) == (later, False)
    resident.drop()
    return [source, await use(made)]

flyte.init()
with connected(ClusterAccess(id="c-1", address=os.environ["ADDRESS"], token="secret"), None, local=True):
    for later in (False, True):
        assert flyte.run(chain, later=later).outputs().o0 == ["memory", "durable"]
        resident.drop()
    assert len(begun) == 1
    try:
        flyte.run(number)
    except Exception as error:
        assert "write_behind is for frames" in str(error), error
    else:
        raise AssertionError("a number was written behind")
print("as it should be")
"""


@pytest.mark.parametrize("program", [WRITTEN_BEHIND, WRITTEN_BEHIND_2], ids=["flyte1", "flyte2"])
def test_flytes_copy_of_a_frame_is_the_same_when_it_is_written_behind(access: ClusterAccess, program: str) -> None:
    # As a task has it: Flyte's SDK and Ray in a process where nothing else was before.
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment() | {"ADDRESS": access.address},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout.strip().endswith("as it should be"), (done.returncode, done.stderr)


@ray_data
def test_the_durable_copy_of_a_dataset_is_a_directory_that_is_whole(job: Job, tmp_path: Path) -> None:
    url = str(tmp_path / "data")
    with job():
        import ray.data

        for n in (10, 20):
            resident.put("data", ray.data.range(n), durable=url)
        resident.drop()
        assert resident.get("data", durable=url).count() == 20
        assert len(list((tmp_path / "data").glob("part-*"))) == 1


def test_data_whose_owner_died_is_read_from_its_durable_copy(job: Job, tmp_path: Path) -> None:
    url = str(tmp_path / "copy")
    with job():
        resident.put("array", np.arange(10), durable=url)
        resident.put("other", np.arange(10))
        for owner in owners():
            kill(owner)
        with pytest.raises(resident.ResidentMissing, match=r"'other' (was lost|is not on this cluster)"):
            resident.get("other")
        # Whoever puts a value does not hear of it either.
        resident.put("another", np.arange(20))
        for owner in owners():
            ray.kill(owner)
        resident.put("another", np.arange(30))
        assert len(resident.get("another")) == 30
        assert resident.get("array", durable=url)[9] == 9
        # Another owner has it now.
        resident.put("next", 1)
        assert resident.get("next") == 1
