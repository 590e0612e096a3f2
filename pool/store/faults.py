"""What a database's errors mean to the pool: one clear sentence and what to do, per kind of failure."""

from __future__ import annotations

import errno
import sqlite3

from sqlalchemy.exc import DBAPIError

from pool.core.errors import PoolError, StoreConflict, StoreFailed
from pool.core.reasons import Reason
from pool.store.base import USED_BEFORE

_KEPT = "Nothing that was committed is lost."

# By SQLite's primary result code: what happened, what to do.
_SQLITE = {
    sqlite3.SQLITE_FULL: ("has no room left: the disk is full", "Free disk space, then start the daemon again."),
    sqlite3.SQLITE_BUSY: (
        "is locked by another process",
        "End the program that has the file open (`fuser` names it), then start the daemon again.",
    ),
    sqlite3.SQLITE_LOCKED: ("is locked", "End the program that has the file open, then start the daemon again."),
    sqlite3.SQLITE_READONLY: (
        "is read-only",
        "Give the daemon's user the right to write the file and its directory, then start the daemon again.",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "is damaged",
        "Restore a backup and start with `warmpool serve --restored`; `sqlite3 FILE .recover` may save more.",
    ),
    sqlite3.SQLITE_NOTADB: (
        "is not a SQLite database, or is damaged",
        "Name another file, or restore a backup and start with `warmpool serve --restored`.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "See that the path is right and that the daemon's user may write the file and its directory.",
    ),
    sqlite3.SQLITE_PERM: ("may not be used by this user", "Give the daemon's user the right to write it."),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "Check the disk, then start the daemon again."),
}
_ERRNO = {
    errno.ENOSPC: ("has no room left: the disk is full", "Free disk space, then start the daemon again."),
    errno.EDQUOT: ("has no room left: the quota is used up", "Free disk space, then start the daemon again."),
    errno.EACCES: ("may not be used by this user", "Give the daemon's user the right to write it and its directory."),
    errno.EPERM: ("may not be used by this user", "Give the daemon's user the right to write it and its directory."),
    errno.EROFS: ("is on a read-only file system", "Name a place that can be written."),
    errno.ENOTDIR: ("cannot be made: part of its path is not a directory", "Correct the path."),
    errno.EEXIST: ("cannot be made: part of its path is a file", "Correct the path."),
    errno.EISDIR: ("is a directory", "Name a file."),
    errno.ECONNREFUSED: ("does not answer", "See that the database server runs and that host and port are right."),
}
# By the class (the first two digits) or the whole of a PostgreSQL error code.
_SQLSTATE = {
    "53100": ("has no room left: its disk is full", "Free disk space on the server, then start the daemon again."),
    "25006": ("is read-only (a standby?)", "Name the primary server."),
    "28": ("refused the user or password", "Correct the user and password of the store's URL."),
    "3D": ("does not exist on the server", "Create the database, or correct its name in the store's URL."),
    "42501": ("does not allow this user to write", "Grant the user all rights on the database's schema."),
    "08": ("lost its connection", "See that the database server runs, then start the daemon again."),
    "57P": ("is shutting down or starting", "Wait for the database server, then start the daemon again."),
    "55P03": ("is locked", "End the session that locks it, then start the daemon again."),
}
_BAD_VALUE = "Correct the value; other requests are not affected."


def translate(error: BaseException, where: str) -> PoolError:
    """Return what a driver's error means.

    Args:
        error: what the driver, SQLAlchemy or the operating system raised.
        where: the store, for the sentence; without secrets.

    Returns:
        StoreConflict if the values were refused and others may succeed, StoreFailed otherwise, or `error` itself if
        it is an error of the pool already.
    """
    if isinstance(error, PoolError):
        return error
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    sqlstate = str(getattr(cause, "sqlstate", None) or "")
    if isinstance(cause, sqlite3.IntegrityError) or sqlstate.startswith("23"):
        return _refused(str(cause))
    # A number beyond 64 bits, half a surrogate pair, a NUL that PostgreSQL does not take.
    if isinstance(cause, OverflowError | UnicodeError | sqlite3.DataError) or sqlstate.startswith("22"):
        return StoreConflict(f"The store cannot hold a value: {_first_line(cause)}.", remedy=_BAD_VALUE)
    found = None
    if isinstance(cause, sqlite3.Error):
        found = _SQLITE.get((getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF)
    elif sqlstate:
        found = next((v for code, v in _SQLSTATE.items() if sqlstate.startswith(code)), None)
    elif isinstance(cause, OSError):
        found = _ERRNO.get(cause.errno or 0)
    if found is None:
        return StoreFailed(f"The store {where} failed: {_first_line(cause)}.")
    return StoreFailed(f"The store {where} {found[0]} ({_first_line(cause)}).", remedy=f"{found[1]} {_KEPT}")


def _refused(text: str) -> StoreConflict:
    if "request_id" in text:
        return StoreConflict(USED_BEFORE, reason=Reason.CONFLICT)
    return StoreConflict(f"The store refused a value: {text.splitlines()[0]}.", remedy=_BAD_VALUE)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
