from __future__ import annotations

import builtins
import io

import pytest

from pool.client import Progress, waiting_display
from pool.client.request import seconds
from pool.core.model import Outcome
from pool.core.reasons import Reason

QUEUED = Progress("queued", 2, Reason.ALL_LEASED, "Every warm cluster is leased.", 12.0, 0.1)
LATER = Progress("queued", 2, Reason.ALL_LEASED, "Every warm cluster is leased.", 9.0, 3.1)
NEXT = Progress("queued", 1, Reason.ALL_LEASED, "Every warm cluster is leased.", None, 4.0)
STARTING = Progress("starting", 1, Reason.STARTING, "A cluster is starting.", 3.0, 5.0)
GRANTED = Progress("granted", 0, Reason.NO_CLUSTER, "The pool has no cluster yet.", 0, 9.8, "c-1", Outcome.COLD)
HIT = Progress("granted", 0, None, "", 0.0, 0.002, "c-1", Outcome.HIT)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_each_change_is_a_line_and_passing_time_is_none():
    out = io.StringIO()
    with waiting_display(out) as show:
        for progress in (QUEUED, LATER, NEXT, STARTING, GRANTED):
            show(progress)
    assert out.getvalue().splitlines() == [
        "queued (position 2: every warm cluster is leased, expected in 12 s)",
        "queued (position 1: every warm cluster is leased)",
        "starting (expected in 3.0 s)",
        "granted c-1 in 9.8 s: cold (the pool has no cluster yet)",
    ]


def test_a_hit_is_one_line():
    out = io.StringIO()
    with waiting_display(out) as show:
        show(HIT)
    assert out.getvalue() == "granted c-1 in 2 ms: hit\n"


def test_on_a_terminal_the_grant_stays_and_the_cursor_comes_back(monkeypatch):
    pytest.importorskip("rich", reason="rich is not installed: pip install 'warmpool[server]'")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    with waiting_display(out) as show:
        show(QUEUED)
        show(STARTING)
        show(GRANTED)
    text = out.getvalue()
    assert "granted c-1 in 9.8 s: cold" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_an_interrupted_wait_leaves_the_terminal_in_order(monkeypatch):
    pytest.importorskip("rich", reason="rich is not installed: pip install 'warmpool[server]'")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()

    def body(show):
        show(QUEUED)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), waiting_display(out) as show:
        body(show)
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")


def test_without_rich_a_terminal_gets_lines(monkeypatch):
    imported = builtins.__import__

    def without_rich(name, *args, **options):
        if name.split(".")[0] == "rich":
            raise ImportError(name)
        return imported(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_rich)
    out = Terminal()
    with waiting_display(out) as show:
        show(HIT)
    assert out.getvalue() == "granted c-1 in 2 ms: hit\n"


@pytest.mark.parametrize(
    ("value_s", "text"), [(0.0021, "2 ms"), (9.84, "9.8 s"), (12.3, "12 s"), (119.9, "2 min 0 s"), (250, "4 min 10 s")]
)
def test_durations_read_well(value_s, text):
    assert seconds(value_s) == text
