"""Why a node did not start, or ended: the few lines of its log that say it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from pool.backends.local.trail import Files, Trail

_TAIL_BYTES = 64 * 1024
_TAIL_LINES = 4
_STAMP = re.compile(r"^\[?\d{4}-\d\d-\d\d[ T][\d:,.]+\s*\]?\s*")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ERROR = re.compile(
    r"^((ERR|PANIC) |Error: |([A-Za-z_][\w.]*)?(Error|Exception|Failure|Timeout)\b(: |$))"
    r"|\[FATAL|\bE \d+ .*Check failed"
)
_RAY_START = re.compile(r"^ERR scripts\.py:\d+ -- ")
_CHILD = re.compile(_RAY_START.pattern + r"(\w+) \[exit code=(-?\d+)\]$")
_TAKEN = re.compile(
    r"already occupied|address (is )?already in use|address in use|already running at|failed to bind", re.IGNORECASE
)
_SPOKEN_BY = ("gcs_server.out", "raylet.out", "dashboard.log", "gcs_server.err", "raylet.err", "dashboard.err")


def of(files: Files, trail: Trail, node: str, *, was_ready: bool = False) -> str:
    """Return why a node did not start, or ended, in a few lines, as far as the logs tell it.

    Args:
        files: of the cluster.
        trail: of the cluster.
        node: which of its nodes ended.
        was_ready: it had started, so that what it said last need not have to do with its end.
    """
    lines = _lines(files.log(node))
    # `ray start --block` names its child that ended, and shows the end of that one's log, whatever it says.
    ended = [_child(found[1], int(found[2])) for line in lines if (found := _CHILD.match(line))]
    errors = [line for line in _errors(lines) if not (ended and _RAY_START.match(line))]
    if not errors:
        # `ray start` only says which of its children ended; the child says why.
        for name in _SPOKEN_BY:
            errors += _errors(_lines(Path(trail.temp_dir) / "session_latest" / "logs" / name))
    if was_ready and not errors and not ended:
        return "its logs name no error."
    said = [*ended, *errors[-3:]] or lines[-_TAIL_LINES:]
    return " | ".join(dict.fromkeys(said)) or "it left no log."


def _child(name: str, code: int) -> str:
    if code >= 0:
        return f"{name} exited with code {code}"
    known = {number.value: number.name for number in signal.Signals}
    return f"{name} was killed by {known.get(-code, f'signal {-code}')}"


def port_was_taken(cause: str) -> bool:
    """Tell whether somebody else took a port between its choice and its use: then another try helps."""
    return _TAKEN.search(cause) is not None


def _errors(lines: list[str]) -> list[str]:
    return [line for line in lines if _ERROR.search(line) or _TAKEN.search(line)]


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = (_STAMP.sub("", _COLOUR.sub("", line)).strip() for line in text.splitlines())
    return [line[:400] for line in lines if line]
