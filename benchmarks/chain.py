"""The example workflow on the pool, prewarmed and cold, against a cluster per task: what it costs besides its bodies.

The three runs of a round do the same work, the five Ray tasks of `pool.demo.workflow`, through flytekit:

``warm``    ``pyflyte run`` on a pool with one prewarmed cluster that no task has used yet
``cold``    ``pyflyte run`` on an empty pool
``fresh``   a process and a Ray of its own per task, as Flyte's Ray plugin gives it on Kubernetes

``speedup`` compares the time outside task bodies: the wall time of the whole command less the sum of the bodies. It
counts all that a person waits for, so also interpreter start and imports: once for a command that runs the tasks in
one process, once per task where each has its own. Who runs each task in a process of its own in any case (a pod, say)
looks at ``cluster_speedup`` in the detail: only the time from asking for a cluster until it is given back. There, the
baseline's stop of its cluster, which happens as its process ends, is left out: in the baseline's favour.

The tasks hand their tables on as ``Resident[pd.DataFrame]``: Flyte's copy of each, and on the pool one in the cluster's
memory too. A body is the task's function with its inputs and outputs, so that is part of it, in all three runs. Since
on the pool it is more work, ``speedup_with_handover`` counts it as time outside of the bodies, for all three too.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from rich.console import Console

from benchmarks.report import fail, finish
from pool.demo.board import Act, Board
from pool.demo.direct import Director, RunFailed
from pool.demo.figures import Run
from pool.demo.place import Place
from pool.demo.programs import TASKS, fresh, leased
from pool.demo.run import CannotRun, check_needs, clear
from pool.demo.service import Service, ServiceError
from pool.demo.signals import Interrupted, Signals
from pool.demo.view import Plain

ROUNDS = 3
READY_BOUND_S = 180.0
SETTLE_S = 2.0


def one_round(number: int, signals: Signals) -> dict[str, Run]:
    """Return a cold, a warm and a baseline run."""
    acts = [
        Act("cold", f"round {number}: an empty pool"),
        Act("warm", f"round {number}: a prewarmed cluster"),
        Act("fresh", f"round {number}: a cluster per task", alone=True),
    ]
    cold, warm, own = acts
    board = Board(acts, TASKS, time.monotonic())
    place = Place()
    service = Service(place)
    with ExitStack() as stack:
        stack.callback(clear, place, service, signals)
        place.make()
        teller = stack.enter_context(Plain(Console(stderr=True, width=100, highlight=False), board))
        director = Director(place, board, teller, signals.pause)
        service.start(signals.pause)
        director.begin(cold)
        runs = {"cold": director.run(cold, leased(), service.environment(), service)}
        prewarm(service, signals.pause)
        director.begin(warm)
        runs["warm"] = director.run(warm, leased(), service.environment(), service)
        service.stop()
        while service.alive():
            signals.pause()
        director.begin(own)
        runs["fresh"] = director.run(own, fresh(), {}, None)
    return runs


def prewarm(service: Service, pause: Callable[[], None]) -> None:
    """Replace the pools' clusters by prewarmed ones that nobody has used.

    Raises:
        ServiceError: if they are not ready in time.
    """
    keys = [pool.key for pool in service.pools().items]
    look = service.look()
    for cluster in look.clusters if look is not None else ():
        service.drain(cluster.id)
    until = time.monotonic() + READY_BOUND_S

    def wait_for(states: Sequence[str]) -> None:
        while True:
            look = service.look()
            if look is not None and [str(cluster.state) for cluster in look.clusters] == list(states):
                return
            if time.monotonic() > until:
                raise ServiceError(f"The pool's clusters did not become {list(states)} within {READY_BOUND_S:.0f} s.")
            pause()

    wait_for([])
    for key in keys:
        service.prewarm(key)
    wait_for(["idle"] * len(keys))
    # What a cluster does right after its start is not what a prewarmed one does.
    settled = time.monotonic() + SETTLE_S
    while time.monotonic() < settled:
        pause()


def profile(runs: Sequence[Run]) -> dict[str, Any]:
    """Return where the time outside the bodies of the warm runs goes: medians over the rounds."""
    totals = [run.totals() for run in runs]
    sums = {name: round(statistics.median(total[name] for total in totals), 3) for name in totals[0]}
    per_task = {
        task: {
            part: round(statistics.median(getattr(run.tasks[at], part) for run in runs), 3)
            for part in ("acquire_s", "connect_s", "body_s", "handover_s", "release_s")
        }
        for at, task in enumerate(TASKS)
    }
    outcomes = sorted({f"{record.outcome}:{record.reason}" for run in runs for record in run.tasks})
    return {"sums": sums, "per_task": per_task, "outcomes": outcomes}


def main() -> None:
    """Measure, print what was found, and write the result."""
    rounds: list[dict[str, Run]] = []
    try:
        check_needs()
        with Signals() as signals:
            for number in range(1, ROUNDS + 1):
                rounds.append(one_round(number, signals))
                _tell(rounds[-1])
    except Interrupted as error:
        sys.exit(128 + error.number)
    except (CannotRun, RunFailed, ServiceError) as error:
        fail(f"{error}\n{getattr(error, 'log', '')}".strip())

    def middle(name: str, part: str = "outside_s") -> float:
        return float(statistics.median(getattr(runs[name], part) for runs in rounds))

    figures = {
        "speedup": round(middle("fresh") / middle("warm"), 2),
        "speedup_cold": round(middle("fresh") / middle("cold"), 2),
        "speedup_with_handover": round(
            (middle("fresh") + middle("fresh", "handover_s")) / (middle("warm") + middle("warm", "handover_s")), 2
        ),
    }
    detail = {
        "rounds": ROUNDS,
        "tasks": len(TASKS),
        "outside_s": {name: round(middle(name), 3) for name in rounds[0]},
        "wall_s": {name: round(middle(name, "wall_s"), 3) for name in rounds[0]},
        "handover_s": {name: round(middle(name, "handover_s"), 3) for name in rounds[0]},
        "bodies_s": {name: round(middle(name, "bodies_s"), 3) for name in rounds[0]},
        "wall_speedup": round(middle("fresh", "wall_s") / middle("warm", "wall_s"), 2),
        "cluster_speedup": round(middle("fresh", "cluster_s") / middle("warm", "cluster_s"), 2),
        "profile": {name: profile([runs[name] for runs in rounds]) for name in rounds[0]},
        "each": [{name: run.totals() for name, run in runs.items()} for runs in rounds],
    }
    finish("chain", "make bench-chain", figures, detail)


def _tell(runs: dict[str, Run]) -> None:
    for name, run in runs.items():
        print(
            f"{name:>6}: {run.outside_s:7.2f} s outside bodies ({run.cluster_s:.2f} s for clusters, {run.rest_s:.2f} s "
            f"for interpreters and imports), {run.bodies_s:.2f} s in bodies "
            f"({run.handover_s:.2f} s for handing tables over)",
            flush=True,
        )


if __name__ == "__main__":
    main()
