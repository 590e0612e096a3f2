"""CSV files by their columns' names: a cell that cannot be read is named by file, line and column."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pool.core.errors import PoolError
from pool.core.reasons import Reason


class Unreadable(PoolError):
    """A trace cannot be read; the text names file, line and column."""

    reason = Reason.INVALID_REQUEST
    remedy = "Correct the file, or name its --format."


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file, read by the names of its columns."""

    path: Path
    line: int
    columns: Mapping[str, int]
    cells: list[str]

    def text(self, column: str) -> str:
        """Return a cell.

        Raises:
            Unreadable: the row is too short to have it, or it is no text.
        """
        at = self.columns[column]
        if at >= len(self.cells):
            raise self.wrong(column, f"is missing; the row has {len(self.cells)} of {len(self.columns)} columns")
        text = self.cells[at].strip()
        if "\ufffd" in text:
            raise self.wrong(column, "is not UTF-8 text")
        return text

    def number(self, column: str) -> float:
        """Return a finite number.

        Raises:
            Unreadable: it is none.
        """
        text = self.text(column)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.wrong(column, f"{text!r} is not a number")
        return value

    def at_least_0(self, column: str) -> float:
        """Return a finite number that is not negative.

        Raises:
            Unreadable: it is none.
        """
        value = self.number(column)
        if value < 0:
            raise self.wrong(column, f"{self.text(column)!r} is less than 0")
        return value

    def count(self, column: str) -> int:
        """Return a whole number of at least 0.

        Raises:
            Unreadable: it is none.
        """
        value = self.at_least_0(column)
        if value != int(value):
            raise self.wrong(column, f"{self.text(column)!r} is not a whole number")
        return int(value)

    def time(self, column: str) -> float:
        """Return a date and time (UTC, unless it says otherwise) as seconds since the epoch.

        Raises:
            Unreadable: it is none.
        """
        text = self.text(column)
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise self.wrong(column, f"{text!r} is not a date and time such as 2017-10-03 14:30:00") from None
        return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()

    def wrong(self, column: str, what: str) -> Unreadable:
        """Return the error about one cell."""
        return Unreadable(f"{self.path}, line {self.line}, column {self.columns[column] + 1} ({column}): {what}.")


def rows(path: Path, needs: tuple[str, ...]) -> Iterator[Row]:
    """Yield the rows of a CSV file whose first line names the columns.

    Raises:
        Unreadable: a column that is needed is not there, or the file is no CSV.
        OSError: the file cannot be opened.
    """
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = csv.reader(file)
        try:
            names = [name.strip() for name in next(lines, [])]
            columns = {name: at for at, name in reversed(list(enumerate(names)))}
            for name in needs:
                if name not in columns:
                    found = ", ".join(names[:8]) or "nothing"
                    raise Unreadable(
                        f"{path}, line 1, column 1: there is no column {name}; the first line has {found}."
                    )
            for cells in lines:
                if cells:
                    yield Row(path, lines.line_num, columns, cells)
        except csv.Error as error:
            raise Unreadable(f"{path}, line {lines.line_num + 1}, column 1: {error}.") from None
