"""Why a node did not start, or ended: the few lines of its log that say it."""

from __future__ import annotations

import re
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
    errors = _errors(lines)
    if not errors:
        # `ray start` only says which of its children ended; the child says why.
        for name in _SPOKEN_BY:
            errors += _errors(_lines(Path(trail.temp_dir) / "session_latest" / "logs" / name))
    if was_ready and not errors:
        return "its logs name no error."
    said = errors[-3:] if errors else lines[-_TAIL_LINES:]
    return " | ".join(dict.fromkeys(said)) or "it left no log."


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
