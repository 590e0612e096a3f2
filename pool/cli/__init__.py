"""The command ``warmpool``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say what it takes where only the client is installed."""
    try:
        from pool.cli.app import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "pool":
            raise
        remedy = "pip install 'warmpool[server]'. What runs inside a task needs no command: import pool."
        print(f"error: the command warmpool needs {error.name}, which is not installed: {remedy}", file=sys.stderr)
        sys.exit(1)
    run()


__all__ = ["main"]
