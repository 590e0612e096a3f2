"""One run of the workflow: a program is started, watched through its task log and the daemon, and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pool.demo.board import Act, Board
from pool.demo.figures import Run, read_records
from pool.demo.place import Place
from pool.demo.service import Service, last_line
from pool.flyte.record import LOG_VARIABLE

LOOK_EVERY_S = 0.2


class RunFailed(Exception):
    """A run of the workflow failed.

    Attributes:
        log: the end of what it wrote.
    """

    def __init__(self, sentence: str, log: str) -> None:
        super().__init__(sentence)
        self.log = log


class Teller(Protocol):
    """What shows the news."""

    def tell(self, news: Sequence[str]) -> None:
        """Show them."""


class Director:
    """Runs acts.

    Args:
        place: where their programs live.
        board: what is known of them.
        teller: is told the news.
        pause: waits a moment; raises to give up.
    """

    def __init__(self, place: Place, board: Board, teller: Teller, pause: Callable[[], None]) -> None:
        self._place = place
        self._board = board
        self._teller = teller
        self._pause = pause

    def note(self, text: str) -> None:
        """Say what the current act does besides its tasks."""
        self._teller.tell(self._board.note(text))

    def begin(self, act: Act) -> None:
        """Begin an act before its program: its time counts from here on for who watches, not for its figures."""
        self._teller.tell(self._board.begin(act, time.monotonic()))

    def run(self, act: Act, command: Sequence[str], env: Mapping[str, str], service: Service | None) -> Run:
        """Run `command` to its end.

        Args:
            act: what it is for.
            command: a program that writes the task log.
            env: more of its environment.
            service: the daemon that its tasks ask, if any.

        Raises:
            RunFailed: if it, or a task, or the daemon did.
        """
        log = self._place.root / f"{act.name}.jsonl"
        began, began_at = time.monotonic(), time.time()
        process = self._place.start(
            act.name, command, self._place.environment(**env, **{LOG_VARIABLE: str(log), "WARMPOOL_GROUP": act.name})
        )
        seen, look_at = 0, began
        while process.poll() is None:
            self._pause()
            now = time.monotonic()
            if now < look_at:
                continue
            look_at = now + LOOK_EVERY_S
            seen += self._follow(log, seen, service)
            if service is not None and not service.alive():
                raise RunFailed(f"The daemon ended during the {act.name} run.", self._tail("daemon"))
        wall_s = time.monotonic() - began
        self._follow(log, seen, None)
        records = read_records(log)
        failed = next((record for record in records if record.error), None)
        ok = process.returncode == 0 and failed is None and len(records) >= len(act.rows) > 0
        self._teller.tell(self._board.end(time.monotonic(), ok=ok))
        if not ok:
            what = f"task {failed.task} raised {failed.error}" if failed else last_line(self._place, act.name)
            raise RunFailed(f"The {act.name} run ended with code {process.returncode}: {what}", self._tail(act.name))
        return Run(act.name, began_at, wall_s, tuple(records))

    def _follow(self, log: Path, seen: int, service: Service | None) -> int:
        now = time.monotonic()
        look = service.look() if service is not None else None
        if look is not None:
            self._teller.tell(self._board.seen(look.waiters, look.leases, look.clusters, now))
        records = read_records(log, seen)
        self._teller.tell(self._board.recorded(records, now))
        return len(records)

    def _tail(self, name: str) -> str:
        try:
            lines = self._place.log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-25:])
