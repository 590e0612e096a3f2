"""`Resident[T]`: to Flyte a ``T``, written in full before its task succeeds; without a cluster it is read back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.flyte

FLYTE1 = """
import pandas as pd
from flytekit import task, workflow
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekitplugins.ray import RayJobConfig
from pool.flyte import Pooled, Resident
Pooled(RayJobConfig(worker_node_config=[]))

for kind in (pd.DataFrame, set, int):
    assert TypeEngine.to_literal_type(Resident[kind]) == TypeEngine.to_literal_type(kind)

made = []

@task(cache=True, cache_version="1")
def make(n: int) -> Resident[pd.DataFrame]:
    made.append(n)
    return Resident(pd.DataFrame({"a": range(n)}))

@task
def passed_on(frame: Resident[pd.DataFrame]) -> Resident[pd.DataFrame]:
    return frame

@task
def handled(frame: Resident[pd.DataFrame]) -> int:
    total = int(frame.get()["a"].sum())
    assert frame.source == "durable", frame
    return total

@task
def plain(frame: pd.DataFrame) -> Resident[set]:
    return Resident(set(frame["a"]))

@task
def small(found: Resident[set]) -> Resident[int]:
    return Resident(len(found.get()))

@task
def number(n: Resident[int]) -> int:
    return n.get()

@workflow
def chain(n: int) -> tuple[int, int]:
    frame = make(n=n)
    return handled(frame=frame), number(n=small(found=plain(frame=frame)))

assert chain(n=4) == (6, 4)
assert chain(n=4) == (6, 4)
assert len(made) <= 1, made

# A handle that is given on is neither read nor written: it is the literal that it came as.
engine, context = TypeEngine, FlyteContextManager.current_context()
frame, kind = pd.DataFrame({"a": [1]}), Resident[pd.DataFrame]
literal = engine.to_literal(context, Resident(frame), kind, engine.to_literal_type(kind))
given = engine.to_python_value(context, literal, kind)
assert engine.to_literal(context, given, kind, engine.to_literal_type(kind)) is literal
assert given.source == ""
assert passed_on(frame=given).get().equals(frame)
"""

FLYTE2 = """
import flyte
import pandas as pd
from flyte.types import TypeEngine
from flyteplugins.ray import RayJobConfig, WorkerNodeConfig
from pool.flyte import Pooled, Resident
Pooled(RayJobConfig(worker_node_config=[WorkerNodeConfig("w", 1)]))

for kind in (set, int):
    assert TypeEngine.to_literal_type(Resident[kind]) == TypeEngine.to_literal_type(kind)

env = flyte.TaskEnvironment("env")

@env.task
async def make(n: int) -> Resident[set]:
    return Resident(set(range(n)))

@env.task
async def count(found: Resident[set]) -> int:
    return len(found.get())

@env.task
async def frame(n: int) -> Resident[pd.DataFrame]:
    return Resident(pd.DataFrame({"a": range(n)}))

@env.task
async def where(found: Resident[pd.DataFrame]) -> str:
    return found._came_as[0].scalar.structured_dataset.uri

@env.task
async def chain(n: int) -> int:
    # A handle that is given on is neither read nor written: it is the literal that it came as.
    made = await frame(n)
    assert await where(made) == made._came_as[0].scalar.structured_dataset.uri
    assert made.source == ""
    return await count(await make(n))

flyte.init()
assert flyte.run(chain, n=4).outputs().o0 == 4
"""


@pytest.mark.parametrize("program", [FLYTE1, FLYTE2], ids=["flyte1", "flyte2"])
def test_a_resident_value_goes_from_task_to_task_also_without_a_cluster(program: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
