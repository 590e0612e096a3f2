"""The command ``warmpool``."""

from pool.cli.app import main

__all__ = ["main"]
