"""A demand that nobody had: executions of Flyte workflows, drawn from published parameters.

Workflows: the shape of a job's tasks from Alibaba's cluster trace of 2018 (4.2 tasks on average, 2.9 deep, 1.8 wide;
22 % have one task alone). Tasks: durations as in Microsoft's Philly traces, log-normal and bounded at a day; a task
of a workflow takes about as long each time. Arrivals: Poisson, with Philly's rhythm of the day (peak 2.09 times the
mean, least 0.64) and of the week (Monday to Sunday .86 1.07 1.14 1.29 1.44 .61 .59), and bursts in which one workflow
is begun several times.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from pool.core.key import ClusterKey, Node, Shape
from pool.replay.demand import Job

WEEKDAYS = (0.86, 1.07, 1.14, 1.29, 1.44, 0.61, 0.59)
SINGLE_TASK = 0.22
MEAN_STAGES, MEAN_WIDTH = 3.4, 1.6
"""Of those with more than one task: with them, all together come to the published means."""
BURST_SIZES = range(2, 9)
"""How many executions a burst has, each number as likely."""
LONGEST_S = 86_400.0
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a workflow: what it asks for, and how long it takes typically."""

    key: ClusterKey
    typical_s: float


@dataclass(frozen=True, slots=True)
class Workflow:
    """Stages one after the other, each of tasks beside each other."""

    name: str
    stages: tuple[tuple[Task, ...], ...]


@dataclass(frozen=True, slots=True)
class Demand:
    """What to draw.

    Attributes:
        workflows: how many there are; some are begun far more often than others.
        executions_per_day: of all of them together.
        days: how long it goes on.
        images, shapes: how many there are of each; a workflow's tasks have one image and one or two shapes.
        burst: chance that an execution comes with others of the same workflow.
        typical_s: the median task.
    """

    workflows: int = 20
    executions_per_day: float = 300.0
    days: float = 14.0
    images: int = 6
    shapes: int = 4
    burst: float = 0.1
    typical_s: float = 300.0


def generate(wanted: Demand, seed: int) -> list[Job]:
    """Return the jobs of a drawn demand, first come first. The same seed gives the same jobs."""
    rng = random.Random(seed)  # noqa: S311 a simulation, not a secret
    workflows, often = _drawn(rng, wanted)
    peak = 2.09 * max(WEEKDAYS)
    jobs: list[Job] = []
    now, n = 0.0, 0
    while True:
        now += rng.expovariate(peak * wanted.executions_per_day / DAY_S)
        if now >= wanted.days * DAY_S:
            break
        if rng.random() >= rhythm(now) / peak:
            continue
        workflow = rng.choices(workflows, often)[0]
        for _ in range(rng.choice(BURST_SIZES) if rng.random() < wanted.burst else 1):
            n += 1
            jobs += _execution(rng, workflow, now + rng.uniform(0.0, 5.0), f"x-{n}")
    jobs.sort(key=lambda job: job.arrival_s)
    return jobs


def known(wanted: Demand, seed: int) -> list[tuple[Workflow, float]]:
    """Return the workflows of a drawn demand, each with its share of what is begun: what nobody knows who learns."""
    workflows, often = _drawn(random.Random(seed), wanted)  # noqa: S311 a simulation, not a secret
    whole = sum(often)
    return [(workflow, share / whole) for workflow, share in zip(workflows, often, strict=True)]


def _drawn(rng: random.Random, wanted: Demand) -> tuple[list[Workflow], list[float]]:
    """Return the workflows, and how often each is begun beside the others."""
    workflows = [_workflow(rng, n, wanted) for n in range(wanted.workflows)]
    return workflows, [1.0 / (rank + 1) for rank in range(len(workflows))]


def rhythm(at_s: float) -> float:
    """Return how busy a time is against the mean; the trace begins on a Monday at midnight."""
    hour = at_s / 3600 % 24
    # From 0.64 at three in the morning to 2.09 twelve hours later, and 1 on average.
    day = 0.64 + 1.45 * ((1 + math.cos((hour - 15) / 12 * math.pi)) / 2) ** 3
    return day * WEEKDAYS[int(at_s // DAY_S) % 7]


def _workflow(rng: random.Random, n: int, wanted: Demand) -> Workflow:
    image, tenant = f"image:{rng.randrange(wanted.images)}", f"team-{n % 3}/production"
    cpus = rng.sample([2**k for k in range(wanted.shapes)], k=min(2, wanted.shapes))

    def task(cpu: int) -> Task:
        key = ClusterKey(image, Shape(head=Node(milli_cpu=1000 * cpu)), tenant)
        return Task(key, wanted.typical_s * rng.lognormvariate(0.0, 1.5))

    if rng.random() < SINGLE_TASK:
        return Workflow(f"workflow-{n}", ((task(cpus[0]),),))
    stages = max(2, round(rng.expovariate(1 / MEAN_STAGES)))
    widths = [1 + int(rng.expovariate(1 / (MEAN_WIDTH - 1))) for _ in range(stages)]
    return Workflow(f"workflow-{n}", tuple(tuple(task(rng.choice(cpus)) for _ in range(width)) for width in widths))


def _execution(rng: random.Random, workflow: Workflow, begins_s: float, name: str) -> Sequence[Job]:
    jobs: list[Job] = []
    for stage in workflow.stages:
        took = [min(LONGEST_S, task.typical_s * rng.lognormvariate(0.0, 0.25)) for task in stage]
        jobs += [Job(begins_s, seconds, task.key, name) for task, seconds in zip(stage, took, strict=True)]
        # Flyte's propeller takes a moment to see that a stage is done.
        begins_s += max(took) + rng.uniform(0.5, 3.0)
    return jobs
