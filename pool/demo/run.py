"""``warmpool demo``: the example workflow on an empty pool, again on a warm one, and with a cluster per task."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console

from pool.demo.board import Act, Board
from pool.demo.direct import Director, RunFailed
from pool.demo.figures import Run, verdict
from pool.demo.place import Place
from pool.demo.programs import TASKS, fresh, leased
from pool.demo.service import Service, ServiceError
from pool.demo.signals import Interrupted, Signals
from pool.demo.view import Plain, Screen, final

NEEDED_BYTES = 2 * 2**30
STOP_BOUND_S = 45.0
WIDTH = 100
_NEEDS = {
    "ray": "local",
    "flytekit": "flyte",
    "flytekitplugins.ray": "flyte",
    "sklearn": "scikit-learn",
    "pandas": "pandas",
}
_EXTRAS = ("local", "flyte")


class CannotRun(Exception):
    """What the demo needs is missing, in one sentence."""


@dataclass(frozen=True)
class Options:
    """Of the command line.

    Attributes:
        json: write the result as JSON on stdout, and all else on stderr.
        baseline: also run with a cluster per task.
        keep: leave the directory for a look.
        width: of the display in columns; the terminal's if None.
        svg: write the final table as a picture to this file.
    """

    json: bool = False
    baseline: bool = True
    keep: bool = False
    width: int | None = None
    svg: Path | None = None


def main(args: Sequence[str]) -> int:
    """Run the demo and return its exit code: 0 if everything ran.

    Args:
        args: of the command line.
    """
    chosen: list[Options] = []
    app = typer.Typer(rich_markup_mode=None, add_completion=False)

    @app.command(context_settings={"help_option_names": ["-h", "--help"]})
    def demo(
        as_json: Annotated[bool, typer.Option("--json", help="Write the result as JSON; all else to stderr.")] = False,
        no_baseline: Annotated[bool, typer.Option("--no-baseline", help="Leave out the cluster per task.")] = False,
        keep: Annotated[bool, typer.Option("--keep", help="Keep the directory, with all logs, for a look.")] = False,
        width: Annotated[int | None, typer.Option(min=60, max=400, help="Columns of the display.")] = None,
        svg: Annotated[Path | None, typer.Option(help="Also write the table as a picture to this file.")] = None,
    ) -> None:
        """Show it: a Flyte workflow on warm clusters.

        It runs cold, then warm, and beside it the same workflow with a fresh cluster for each task. Everything that it
        starts or writes is gone when it ends, also after Ctrl-C.
        """
        chosen.append(Options(as_json, not no_baseline, keep, width, svg))

    typer.main.get_command(app).main(list(args), prog_name="warmpool demo", standalone_mode=False)
    return run(chosen[0]) if chosen else 0


def run(options: Options) -> int:
    """Run the demo and return its exit code: 0 if everything ran."""
    console = Console(stderr=options.json, width=options.width, highlight=False)
    if options.width is None and not console.is_terminal:
        console.width = WIDTH
    runs: list[Run] = []
    try:
        check_needs()
        check_file(options.svg)
        with Signals() as signals:
            _staged(options, console, signals, runs)
    except (CannotRun, ServiceError, RunFailed) as error:
        if isinstance(error, RunFailed) and error.log:
            console.print(error.log, style="dim", markup=False, soft_wrap=True)
        if len(runs) > 1:
            # What it was about was measured: it took minutes.
            console.print(final(runs, console.width))
        console.print(f"demo: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except Interrupted as error:
        console.print(f"demo: {error}; everything it started is stopped.", markup=False)
        return 128 + error.number
    table = final(runs, console.width)
    console.print(table)
    if options.svg is not None:
        write_svg(options.svg, runs)
    if options.json:
        print(json.dumps({"verdict": verdict(runs), "runs": {run.name: run.to_json() for run in runs}}, indent=1))
    return 0


def check_needs() -> None:
    """Check that this machine can run it.

    Raises:
        CannotRun: if it cannot, with the remedy.
    """
    missing = [needed for module, needed in _NEEDS.items() if not _has(module)]
    if missing:
        extras = ",".join(["server", *(extra for extra in _EXTRAS if extra in missing)])
        others = " ".join(sorted({name for name in missing if name not in _EXTRAS}))
        raise CannotRun(f'Something it needs is not installed: pip install "warmpool[{extras}]" {others}'.rstrip())
    free = psutil.virtual_memory().available
    if free < NEEDED_BYTES:
        raise CannotRun(
            f"It needs {NEEDED_BYTES / 2**30:.0f} GiB of free memory, and this machine has {free / 2**30:.1f} GiB: "
            "end other programs first."
        )


def check_file(file: Path | None) -> None:
    """Check that the picture can be written: it is made last, minutes later.

    Raises:
        CannotRun: if it cannot.
    """
    if file is None:
        return
    there = next(path for path in (file.absolute(), *file.absolute().parents) if path.exists())
    if file.is_dir() or (there != file.absolute() and not there.is_dir()) or not os.access(there, os.W_OK):
        raise CannotRun(f"No file {file} can be written: name another one for the picture.")


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _staged(options: Options, console: Console, signals: Signals, runs: list[Run]) -> None:
    """Run the acts one after the other, and add what each took to `runs`."""
    cold = Act("cold", "the first run finds no cluster")
    warm = Act("warm", "the same again: its cluster is still there")
    own = Act("fresh", "each task starts and stops a Ray of its own", alone=True)
    board = Board([cold, warm, *([own] if options.baseline else [])], TASKS, time.monotonic())
    place = Place()
    service = Service(place)
    with ExitStack() as stack:
        stack.callback(clear, place, service, signals, keep=options.keep)
        place.make()
        screen: Screen | Plain = Screen(console, board) if console.is_terminal else Plain(console, board)
        stack.enter_context(screen)
        director = Director(place, board, screen, signals.pause)
        director.begin(cold)
        director.note("starting the daemon")
        service.start(signals.pause)
        director.note("")
        for act in (cold, warm):
            if act is warm:
                director.begin(act)
            runs.append(director.run(act, leased(), service.environment(), service))
        if options.baseline:
            director.begin(own)
            # The pool's clusters are idle now: they must not compete with the baseline for the machine.
            director.note("stopping the pool first")
            service.stop()
            while service.alive():
                signals.pause()
            director.note("")
            runs.append(director.run(own, fresh(), {}, None))


def clear(place: Place, service: Service, signals: Signals, *, keep: bool = False) -> None:
    """Stop everything and delete the directory. Further signals make it shorter, and never end it half done."""
    if not place.root.exists():
        return
    before = signals.count
    service.stop()
    until = time.monotonic() + STOP_BOUND_S
    place.end_programs(but=service.pid)
    while service.alive() and time.monotonic() < until and signals.count == before:
        time.sleep(0.05)
    place.end(grace_s=0.0 if signals.count > before else 5.0)
    if keep:
        print(f"kept {place.root}", file=sys.stderr)
    else:
        place.remove()


def write_svg(file: Path, runs: list[Run]) -> None:
    """Write the final table as a picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(final(runs, WIDTH))
    file.parent.mkdir(parents=True, exist_ok=True)
    console.save_svg(str(file), title="warmpool demo")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
