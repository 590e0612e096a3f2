"""What a daemon was asked, as ``warmpool history export`` writes it: CSV, or JSON with one object a line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from pool.core.errors import InvalidKey
from pool.core.key import ClusterKey, canonical, key_from
from pool.replay.demand import Job
from pool.replay.rows import Row, Unreadable, rows

COLUMNS = (
    "lease", "arrival_s", "wait_s", "duration_s", "pool", "pool_name", "tenant", "group", "outcome", "reason",
    "end_reason", "key",
)  # fmt: skip
"""Of the CSV file, named as in the API's answer; what is null there is empty here, and the key is JSON."""

NEEDED = ("arrival_s", "duration_s", "group", "key")
"""What a replay reads of them."""


def write_csv(items: Iterable[Mapping[str, Any]], file: TextIO) -> int:
    """Write items of ``GET /v1/history`` as CSV and return how many there were."""
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(COLUMNS)
    count = 0
    for count, item in enumerate(items, 1):  # noqa: B007 - how many is what is returned
        lines.writerow("" if (cell := item[name]) is None else _text(cell) for name in COLUMNS)
    return count


def write_json(items: Iterable[Mapping[str, Any]], file: TextIO) -> int:
    """Write items of ``GET /v1/history``, one a line, and return how many there were."""
    count = 0
    for count, item in enumerate(items, 1):  # noqa: B007
        file.write(json.dumps({name: item[name] for name in COLUMNS}, ensure_ascii=False) + "\n")
    return count


def jobs_of(items: Iterable[Mapping[str, Any]]) -> list[Job]:
    """Return items of ``GET /v1/history`` as jobs.

    Raises:
        InvalidKey: a key is none that this version knows.
    """
    known: dict[str, ClusterKey] = {}
    jobs: list[Job] = []
    for item in items:
        key = known.get(item["pool"])
        if key is None:
            key = known[item["pool"]] = key_from(item["key"])
        jobs.append(Job(float(item["arrival_s"]), float(item["duration_s"]), key, str(item["group"])))
    return jobs


def read_history(path: Path) -> Iterator[Job]:
    """Yield the jobs of an export.

    Raises:
        Unreadable: naming file, line and column.
        OSError: the file cannot be opened.
    """
    known: dict[str, ClusterKey] = {}
    for row in _json_rows(path) if _is_json(path) else rows(path, NEEDED):
        text = row.text("key")
        key = known.get(text)
        if key is None:
            key = known[text] = _key(row, text)
        yield Job(row.number("arrival_s"), row.at_least_0("duration_s"), key, row.text("group"))


def _key(row: Row, text: str) -> ClusterKey:
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise row.wrong("key", "is no key: it is not a JSON object")
    try:
        return key_from(data)
    except InvalidKey as error:
        raise row.wrong("key", error.detail.removesuffix(".")) from None


def _is_json(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.read(64).lstrip().startswith("{")


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                item = json.loads(text.rstrip())
            except json.JSONDecodeError as error:
                raise Unreadable(f"{path}, line {line}, column {error.colno}: it is not JSON ({error.msg}).") from None
            missing = [name for name in NEEDED if not isinstance(item, dict) or name not in item]
            if missing:
                raise Unreadable(f"{path}, line {line}, column 1: there is no field {missing[0]}.")
            columns = {name: at for at, name in enumerate(item)}
            yield Row(path, line, columns, [_text(value) for value in item.values()])


def _text(value: object) -> str:
    return value if isinstance(value, str) else canonical(value)
