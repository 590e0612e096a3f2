"""The programs of ours that clusters are given by name: who starts one and who looks for it mean the same text."""

from __future__ import annotations

from pool.inside import child, files, imports, kept, place, processes, runner, sweep, sweeper, tables
from pool.inside.sending import command_of


def runner_command() -> str:
    """Return the command line of a warm interpreter."""
    return command_of(place, tables, imports, kept, child, runner)


def sweeper_command(given: str = "") -> str:
    """Return the command line of a sweep; without its argument, how that of every one begins."""
    return command_of(processes, files, tables, place, sweep, sweeper, given=given)
