"""Errors at the command line: one sentence on stderr, an exit code, and never a traceback."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from pool.core.errors import PoolError
from pool.core.reasons import Reason


class CommandError(PoolError):
    """What was asked at the command line cannot be done."""

    reason = Reason.INVALID_REQUEST
    remedy = "See --help."


class Group(TyperGroup):
    """Commands whose errors are told in a sentence. Exit codes: 0 done, 1 not possible, 2 wrong usage."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read our output has gone, as `head` does: that is no error. Nothing more is written at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except Exception as error:
            sentence = _sentence(error)
            if sentence is None:
                raise
            tell(f"error: {sentence}")
            raise typer.Exit(1) from None


def tell(text: str) -> None:
    """Write to stderr."""
    print(text, file=sys.stderr, flush=True)


def _sentence(error: Exception) -> str | None:
    if isinstance(error, PoolError):
        return str(error)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        # Python does not say which file it could not write to; only who runs the command knows the disk.
        remedy = ". Free disk space, then run it again." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return f"{name}{(error.strerror or str(error)).lower()}{remedy}"
    if type(error).__module__ == "pool.client.errors":
        return str(error)
    if "click" in type(error).__module__ or isinstance(error, typer.Exit | typer.Abort):
        return None
    if os.environ.get("WARMPOOL_DEBUG"):
        return None
    return f"{type(error).__name__}: {error} (a bug; run it again with WARMPOOL_DEBUG=1 to see where)"
