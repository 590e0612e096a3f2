"""One connection on which whole transactions run, the same for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Dialect
from sqlalchemy.engine import Connection

T = TypeVar("T")


class Tx(Protocol):
    """A transaction under way. Statements are text of the link's dialect, values are positional."""

    def rows(self, statement: str, *values: Any) -> Sequence[Sequence[Any]]:
        """Return all rows of a query."""

    def write(self, statement: str, *values: Any) -> int:
        """Run one write and return how many rows it changed."""

    def write_all(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run one write for each of `rows`."""


class Link(Protocol):
    """The writer's one connection."""

    @property
    def dialect(self) -> Dialect:
        """The SQL it speaks."""

    async def run(self, job: Callable[[Tx], T]) -> T:
        """Run `job` in one transaction: committed if it returns, rolled back if it raises.

        A caller that is cancelled does not break the transaction: it still ends one way or the other, before the
        next one begins.

        Raises:
            Exception: whatever `job` raises, and the driver's errors.
        """

    async def run_sync(self, job: Callable[[Connection], T]) -> T:
        """Run `job` in one transaction of SQLAlchemy's (migrations)."""

    async def close(self) -> None:
        """Close the connection; a transaction under way ends first."""
