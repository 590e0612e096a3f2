"""Replays of whole configurations: the pools, policies, ceilings and schedule windows that a file or a daemon says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pool.cli.context import where
from pool.cli.errors import CommandError
from pool.cli.talk import Operator

if TYPE_CHECKING:
    from pool.config import Config
    from pool.core.settings import Rules
    from pool.replay import Job, Replay, Times
    from pool.windows import Window

CURRENT = "current"


def configuration(ctx: typer.Context, said: str) -> Config:
    """Return the configuration of a file, or with ``current`` the one that the daemon follows.

    Raises:
        ConfigError: with everything that is wrong with the file.
        CommandError: the daemon is not found, or refused.
    """
    import yaml

    from pool.config import load, load_text

    if said != CURRENT:
        return load(Path(said))
    try:
        found = Operator(where(ctx))
    except CommandError as error:
        remedy = f"{error.remedy} A configuration FILE.yaml can stand in the place of `{CURRENT}`."
        raise CommandError(error.detail, remedy=remedy) from None
    with found as daemon:
        data = daemon.get("/v1/config")["config"]
    return load_text(yaml.safe_dump(data, sort_keys=False), "the daemon's configuration")


def play(
    rules: Rules,
    windows: Sequence[Window],
    jobs: Sequence[Job],
    times: Times,
    *,
    seed: int = 0,
    timeline: bool = False,
    warm_up_s: float = 0.0,
    told: Callable[[int], None] = lambda done: None,
) -> Replay:
    """Return a replay that has run.

    Args:
        rules: of the configuration, or of one policy.
        windows: schedule windows, which open and close at the times of the jobs.
        jobs: by arrival.
        times: how long clusters take.
        seed: of what is drawn.
        timeline: whether its ledger is to be a `Timeline`.
        warm_up_s: so much from the beginning is replayed and not counted.
        told: called with how many jobs have arrived.
    """
    from pool.replay import Replay
    from pool.replay.figures import Ledger
    from pool.replay.run import WEEK_S
    from pool.replay.timeline import Timeline
    from pool.store.memory import MemoryStore
    from pool.windows import next_change, open_floors

    begins_s, ends_s = jobs[0].arrival_s, max(job.arrival_s + job.duration_s for job in jobs)
    # The times of a trace that begins at 0 are no times of the day.
    scheduled = list(windows) if begins_s >= WEEK_S else []
    rules = replace(rules, floors=open_floors(scheduled, begins_s))
    ledger = Timeline if timeline else Ledger
    replay = Replay(rules, MemoryStore(keeps_books=False), times, seed=seed, ledger=ledger, warm_up_s=warm_up_s)
    at = next_change(scheduled, begins_s)
    while at is not None and at < ends_s:
        replay.want(open_floors(scheduled, at), at)
        at = next_change(scheduled, at)
    replay.run(jobs, told)
    return replay


def play_config(
    config: Config,
    jobs: Sequence[Job],
    times: Times,
    *,
    seed: int = 0,
    timeline: bool = False,
    warm_up_s: float = 0.0,
    told: Callable[[int], None] = lambda done: None,
) -> Replay:
    """Return a replay of a configuration that has run."""
    from pool.config import build_rules, windows_of

    rules = build_rules(config, {})
    windows = windows_of(config)
    return play(rules, windows, jobs, times, seed=seed, timeline=timeline, warm_up_s=warm_up_s, told=told)


@contextmanager
def progress(jobs: int, replays: int = 1) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr, where that is a terminal, of one replay or of several one after the other."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("jobs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    before, last = 0, 0

    def tell(done: int) -> None:
        nonlocal before, last
        if done < last:
            before += jobs
        last = done
        shown.update(task, completed=before + done)

    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("jobs", total=jobs * replays)
        yield tell
