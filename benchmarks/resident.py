"""Handing a frame to the next job: as resident data, as Parquet on the local disk, and as a plain pickle there.

Each hand-over is what the two jobs do about it: the producer's `put` (or write) and the consumer's `get` (or read),
and nothing else. Producer and consumer are two connections one after the other to one real cluster, so that nothing
of the first is there for the second. Each runs a task on Ray before, as jobs on a Ray cluster do; meanwhile its way to
the resident data is opened. ``at_once`` is the same without: data is the first that the job asks its cluster for. A
frame is ten columns of random floats, the worst case for compression.

``speedup_100mb``, ``speedup_1gb``  Parquet's time over the resident one's, medians
``over_ray_get``                    `get` over Ray's own `ray.get` of the same frame in the same job, medians, at 1 GB

A job's first `get` (`first_get_s`) is part of the hand-over; `over_ray_get` compares those after it with Ray's.

``flyte`` in the detail is the same as Flyte tasks see it, through flytekit's type engine and with its copy on the local
disk: a plain ``pd.DataFrame``, a ``Resident[pd.DataFrame]``, and one with ``write_behind``, output to input.

A store's memory is slow when it is touched for the first time: the first hand-over of a cluster is shown apart. The
files are not synced, and are read from the page cache: in their favour.
"""

from __future__ import annotations

import pickle
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.report import fail, finish
from pool import resident
from pool.client.connect import connected
from pool.flyte import Resident
from pool.resident import behind as writing
from pool.wire.leases import ClusterAccess
from tests.heads import by_init

STORE_BYTES = 6_000_000_000
SIZES = {"100mb": 100_000_000, "1gb": 1_000_000_000}
ROUNDS = {"100mb": 6, "1gb": 2}
FLYTE_ROUNDS = {"100mb": 3, "1gb": 1}
FLYTE = ("plain", "resident", "behind")
COLUMNS = 10


def frame_of(size_bytes: int) -> Any:
    """Return a frame of random floats."""
    import numpy
    import pandas

    rows = size_bytes // 8 // COLUMNS
    values = numpy.random.default_rng(0).random((rows, COLUMNS))
    return pandas.DataFrame(values, columns=[f"c{column}" for column in range(COLUMNS)])


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long a call took, seconds, and what it returned."""
    begun = time.perf_counter()
    result = call()
    return time.perf_counter() - begun, result


def by_memory(access: ClusterAccess, frame: Any, *, at_once: bool = False) -> dict[str, float]:
    """Hand a frame over as resident data, and time Ray's own get of one beside it.

    Args:
        access: of the cluster.
        frame: what is handed over.
        at_once: without a task before.
    """
    import ray

    def begin() -> None:
        if not at_once:
            ray.get(ray.remote(lambda: None).remote())

    with connected(access, None, local=True):
        begin()
        put_s, _ = timed(lambda: resident.put("frame", frame))
    with connected(access, None, local=True):
        begin()
        first_get_s, got = timed(lambda: resident.get("frame"))
        if not got.iloc[-1].equals(frame.iloc[-1]):
            fail("what came back is not what was put")
        del got
        get_s = statistics.median(timed(lambda: resident.get("frame"))[0] for _ in range(9))
        resident.drop()
        ray_get_s = statistics.median(timed(partial(ray.get, own))[0] for own in [ray.put(frame)] for _ in range(9))
    return {"put_s": put_s, "first_get_s": first_get_s, "get_s": get_s, "ray_get_s": ray_get_s}


def by_flyte(access: ClusterAccess, frame: Any, kind: str, place: Path) -> dict[str, float]:
    """Hand a frame over as the output and the input of two Flyte tasks: `kind` is one of `FLYTE`."""
    import pandas
    from flytekit.core.context_manager import FlyteContextManager
    from flytekit.core.data_persistence import FileAccessProvider
    from flytekit.core.type_engine import TypeEngine

    import pool.flyte.handle1  # noqa: F401 - it registers Resident[T]

    plain, behind = kind == "plain", kind == "behind"
    of = pandas.DataFrame if plain else Resident[pandas.DataFrame]
    files = FileAccessProvider(local_sandbox_dir=str(place), raw_output_prefix=str(place))
    with FlyteContextManager.with_context(FlyteContextManager.current_context().with_file_access(files)) as context:
        expected = TypeEngine.to_literal_type(of)
        with connected(access, None, local=True):
            # flytekit writes a value that it wrote already not again.
            frame.iat[0, 0] = random.random()
            value = frame if plain else Resident(frame, write_behind=behind)
            out_s, literal = timed(lambda: TypeEngine.to_literal(context, value, of, expected))
            # The next job of this process begins once the copy is complete, as the lease ends then.
            writing.finish()
        with connected(access, None, local=True):

            def read() -> Any:
                given = TypeEngine.to_python_value(context, literal, of)
                return given if plain else given.get()

            in_s, got = timed(read)
            if not got.iloc[-1].equals(frame.iloc[-1]):
                fail("what came back is not what was handed over")
            del got
            resident.drop()
    shutil.rmtree(place)
    found = {"out_s": out_s, "in_s": in_s}
    return found | {"durable_s": value.durable_s} if behind else found


def by_file(write: Callable[[str], Any], read: Callable[[str], Any], path: Path) -> dict[str, float]:
    """Hand a frame over as a file."""
    write_s, _ = timed(lambda: write(str(path)))
    read_s, _ = timed(lambda: read(str(path)))
    path.unlink()
    return {"write_s": write_s, "read_s": read_s}


def pickle_to(frame: Any, path: str) -> None:
    """Write a pickle, with the newest protocol."""
    with Path(path).open("wb") as file:
        pickle.dump(frame, file, protocol=5)


def unpickled(path: str) -> Any:
    """Read a pickle."""
    with Path(path).open("rb") as file:
        return pickle.load(file)


def main() -> None:
    """Measure, print what was found, and write the result."""
    import pandas

    home = Path(tempfile.mkdtemp(prefix="wpb-"))
    detail: dict[str, Any] = {}
    figures: dict[str, float] = {}
    try:
        with by_init(home, cpus=2, store_bytes=STORE_BYTES) as access:
            for name, size_bytes in SIZES.items():
                frame = frame_of(size_bytes)
                memory, parquet, pickled, at_once = [], [], [], []
                flyte: dict[str, list[dict[str, float]]] = {kind: [] for kind in FLYTE}
                # The first one touches the store's memory; it is told apart below.
                for number in range(ROUNDS[name] + 1):
                    memory.append(by_memory(access, frame))
                    at_once.append(by_memory(access, frame, at_once=True))
                    parquet.append(by_file(frame.to_parquet, pandas.read_parquet, home / "f"))
                    pickled.append(by_file(partial(pickle_to, frame), unpickled, home / "f"))
                    for kind in FLYTE if number < FLYTE_ROUNDS[name] else ():
                        flyte[kind].append(by_flyte(access, frame, kind, home / "flyte"))
                    flyte_last = {kind: runs[-1] for kind, runs in flyte.items()}
                    print(name, memory[-1], parquet[-1], pickled[-1], flyte_last, file=sys.stderr, flush=True)
                first, rest = memory[0], memory[1:]
                over_s = _median([run["put_s"] + run["first_get_s"] for run in rest])
                parquet_s = _median([sum(run.values()) for run in parquet[1:]])
                pickle_s = _median([sum(run.values()) for run in pickled[1:]])
                figures[f"speedup_{name}"] = round(parquet_s / over_s, 1)
                over_ray = _median([run["get_s"] for run in rest]) / _median([run["ray_get_s"] for run in rest])
                detail[name] = {
                    "bytes": size_bytes,
                    "rounds": ROUNDS[name],
                    "resident": {part: _median([run[part] for run in rest]) for part in first},
                    "at_once": {part: _median([run[part] for run in at_once[1:]]) for part in ("put_s", "first_get_s")},
                    "resident_first_of_the_cluster": {part: round(took_s, 4) for part, took_s in first.items()},
                    "parquet": {part: _median([run[part] for run in parquet[1:]]) for part in parquet[0]},
                    "pickle": {part: _median([run[part] for run in pickled[1:]]) for part in pickled[0]},
                    "speedup_over_pickle": round(pickle_s / over_s, 1),
                    "over_ray_get": round(over_ray, 2),
                    "flyte": {
                        kind: {part: _median([run[part] for run in runs]) for part in runs[0]}
                        for kind, runs in flyte.items()
                    },
                }
                del frame
    finally:
        shutil.rmtree(home, ignore_errors=True)
    figures["over_ray_get"] = detail["1gb"]["over_ray_get"]
    finish("resident", "make bench-resident", figures, detail)


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 5)


if __name__ == "__main__":
    main()
