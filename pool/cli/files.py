"""Files that commands write: as a whole, or as they were before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def whole(path: Path) -> Iterator[TextIO]:
    """Give a file to write to, which takes the place of what is there once all is written.

    If it is not, because the disk is full, the daemon does not answer or somebody presses Ctrl-C, what was there stays.
    What is no ordinary file, such as a pipe, is written to as it comes.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    # A link stays one.
    final = path.resolve()
    begun = final.with_name(f"{final.name}.part")
    try:
        with begun.open("w", encoding="utf-8", newline="") as file:
            yield file
        begun.replace(final)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        begun.unlink(missing_ok=True)
